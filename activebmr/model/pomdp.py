"""`POMDP`: the generative model of an agent, checked and labelled when it is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from activebmr import checks
from activebmr.checks import float_array, frozen
from activebmr.counts import mean
from activebmr.model.naming import Table, read_name
from activebmr.model.policies import policy_sequences
from activebmr.model.probabilities import check_beside, columns, counts_of

__all__ = ["POMDP"]


@dataclass(frozen=True, eq=False, repr=False)
class POMDP:
    """A partially observed Markov decision process, with Dirichlet counts over what of it is to be learned.

    Arrays follow pymdp's layout. ``S_f``, ``U_f`` are the numbers of states and controls of factor f, ``O_m`` the number of
    outcomes of modality m. Lists may be given as lists of anything that numpy turns into arrays; they are copied and frozen.

    Attributes:
        A: per modality the likelihood ``(O_m, S_d0, S_d1, ...)``, columns sum to 1 (within the rounding of their own precision;
            then they are normalised); axes after the first follow ``A_dependencies[m]``. ``None`` where ``pA[m]`` is given:
            then A is the mean of the counts.
        B: per factor the transitions ``(S_f, S_d0, ..., U_f)``, columns sum to 1; the middle axes follow ``B_dependencies[f]``.
            ``None`` where ``pB[f]`` is given.
        C: per modality the log preferences ``(O_m,)`` or, if they change over time, ``(T, O_m)`` (the last row holds from
            then on); ``None`` is indifference. Only differences matter: they are normalised with log softmax.
        D: per factor the probabilities of the initial states ``(S_f,)``; ``None`` is uniform.
        E: per factor the prior over controls ``(U_f,)``, or one vector over policies ``(n_policies,)``; ``None`` is uniform.
        pA: per modality ``None`` (the likelihood is known) or Dirichlet counts of the shape of ``A[m]``, which the agent
            learns. A zero is structural: the agent never learns that outcome. Their mean is what the agent expects, so that
            an ``A[m]`` beside them must be that mean within 1e-6.
        pB, pD: the same for transitions (of the shape of ``B[f]``) and initial states ``(S_f,)``, per factor.
        pE: habits: per factor ``None`` or counts of its controls ``(U_f,)``, or one vector of counts of policies
            ``(n_policies,)``; of several steps, these are learned with ``inference="paths"`` and policies of whole trials.
        A_dependencies: per modality the factors that its likelihood depends on, in the order of its axes; by default all.
        B_dependencies: per factor the factors that its transitions depend on; by default the factor itself.
        policies: controls ``(n_policies, length, n_factors)``, or ``(n_policies, n_factors)`` for policies of one step. By
            default all sequences of ``policy_length`` steps, last factor and last step fastest.
        policy_length: length of the default policies, in steps.
        labels: names for people. Keys ``"factor"`` and ``"modality"`` (lists of names), ``"states"``, ``"outcomes"`` and
            ``"controls"`` (dicts from the name of a factor or modality to a list of names). What is left out is numbered.

    Raises:
        ValueError: naming the array, the rule and the value, when shapes, sums, signs, indices or labels do not fit, or
            entries are masked.
        TypeError: likewise, when they are no real numbers, or indices no whole numbers.

    Example:
        >>> stay_or_leave = np.stack([np.eye(2), np.eye(2)[::-1]], axis=2)
        >>> place = POMDP(A=[np.eye(2)], B=[stay_or_leave], C=[[0, 1]])
        >>> place.policies[:, 0, 0].tolist()
        [0, 1]
    """

    A: Sequence[Any]
    B: Sequence[Any]
    C: Sequence[Any] | None = None
    D: Sequence[Any] | None = None
    E: Any = None
    pA: Sequence[Any] | None = None
    A_dependencies: Sequence[Sequence[int]] | None = None
    B_dependencies: Sequence[Sequence[int]] | None = None
    policies: Any = None
    policy_length: int = 1
    labels: Mapping[str, Any] = field(default_factory=dict)
    pB: Sequence[Any] | None = None
    pD: Sequence[Any] | None = None
    pE: Any = None
    _made: ClassVar[dict[Any, Any]]

    def __post_init__(self) -> None:
        self.__dict__["_made"] = {}  # see `activebmr.model.once`
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 (the dataclass is frozen)
        for name in ("A", "B", "C", "D", "E", "pA", "pB", "pD", "pE", "A_dependencies", "B_dependencies"):
            if getattr(self, name) is not None or name in ("A", "B"):
                checks.sequence(getattr(self, name), f"{name} of POMDP")
        for name in ("pB", "pD"):
            put(name, counts_of(name, getattr(self, name), len(self.B), "factor"))
        put("B", self._checked_b())
        put("A_dependencies", self._checked_dependencies("A_dependencies", self.A_dependencies, len(self.A)))
        put("pA", counts_of("pA", self.pA, len(self.A), "modality"))
        put("A", self._checked_a())
        put("C", self._checked_c())
        put("D", self._checked_d())
        default = self.policies is None
        put("policies", self._checked_policies())
        if not default and self.policies.shape[0] == np.prod(self.num_controls, dtype=float) ** self.policies.shape[1]:
            default = np.array_equal(self.policies, policy_sequences(self.num_controls, self.policies.shape[1]))
        put("_default_policies", default)
        put("policy_length", int(self.policies.shape[1]))
        put("pE", self._checked_pe())
        put("E", self._checked_e())
        for kind in ("A", "B", "D"):
            for i, (values, counts) in enumerate(zip(getattr(self, kind), getattr(self, f"p{kind}"), strict=True)):
                if counts is not None:
                    check_beside(f"{kind}[{i}]", values, counts)
        put("labels", self._checked_labels())

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled and copied: all but what can be made again."""
        return {**self.__dict__, "_made": {}}

    # --- sizes and names -------------------------------------------------------------------------------------------------
    @cached_property
    def num_states(self) -> tuple[int, ...]:
        """Number of states of each factor."""
        return tuple(int(b.shape[0]) for b in self.B)

    @cached_property
    def num_controls(self) -> tuple[int, ...]:
        """Number of controls of each factor; 1 for a factor that no action moves."""
        return tuple(int(b.shape[-1]) for b in self.B)

    @cached_property
    def num_outcomes(self) -> tuple[int, ...]:
        """Number of outcomes of each modality."""
        return tuple(int(a.shape[0]) for a in self.A)

    @property
    def num_factors(self) -> int:
        return len(self.B)

    @property
    def num_modalities(self) -> int:
        return len(self.A)

    @cached_property
    def controlled_factors(self) -> tuple[int, ...]:
        """Factors with more than one control."""
        return tuple(f for f, n in enumerate(self.num_controls) if n > 1)

    @cached_property
    def learned_modalities(self) -> tuple[int, ...]:
        """Modalities whose likelihood has Dirichlet counts."""
        return tuple(m for m, counts in enumerate(self.pA) if counts is not None)

    @cached_property
    def learned(self) -> tuple[Table, ...]:
        """Tables that have Dirichlet counts: likelihoods, transitions, initial states, habits."""
        out = [Table(kind, i) for kind in ("A", "B", "D") for i, n in enumerate(getattr(self, f"p{kind}")) if n is not None]
        if isinstance(self.pE, np.ndarray):
            return (*out, Table("E", -1))
        return (*out, *(Table("E", f) for f, n in enumerate(self.pE) if n is not None))

    def table(self, key: Any) -> Table:
        """The table that a name means: ``"pB[place]"``, ``"D[0]"``, or the name or index of a modality for its likelihood.

        Raises:
            ValueError: if there is no such table.
        """
        if isinstance(key, str) and "[" not in key and key not in ("E", "pE"):
            return Table("A", self.modality(key))
        named, _ = read_name(key, "names of a model's tables")
        if named == Table("E", -1):
            if not isinstance(self.E, np.ndarray):
                raise ValueError(f"{key!r} must name a table of the model: its E is per factor, 'E[f]'")
            return named
        if named.kind == "E" and isinstance(self.E, np.ndarray):
            raise ValueError(f"{key!r} must name a table of the model: its E is over policies, 'E'")
        return Table(named.kind, self.modality(named.index) if named.kind == "A" else self.factor(named.index))

    @checks.checked(table=checks.an(Table))
    def values_of(self, table: Table) -> NDArray[np.float64]:
        """Probabilities of a table."""
        held = getattr(self, table.kind)
        return held if table.index == -1 else held[table.index]  # type: ignore[no-any-return,index]

    @checks.checked(table=checks.an(Table))
    def counts_of(self, table: Table) -> NDArray[np.float64] | None:
        """Dirichlet counts of a table, None where it is known."""
        held = getattr(self, f"p{table.kind}")
        if table.index == -1:
            return held if isinstance(held, np.ndarray) else None
        return held[table.index]  # type: ignore[no-any-return,index]

    @cached_property
    def first_controls(self) -> NDArray[np.intp]:
        """Controls of the first step of every policy ``(n_policies, n_factors)``."""
        return self.policies[:, 0]

    @cached_property
    def log_policy_prior(self) -> NDArray[np.float64]:
        """log E of every policy ``(n_policies,)``: the sum of the log priors of its controls."""
        if isinstance(self.E, tuple):
            with np.errstate(divide="ignore"):
                logs = [np.log(e) for e in self.E]
            return sum(logs[f][self.policies[:, :, f]].sum(axis=1) for f in range(self.num_factors))
        with np.errstate(divide="ignore"):
            return np.log(self.E)

    def factor(self, name: str | int) -> int:
        """Index of a factor given by name or index."""
        return self._index("factor", name, self.num_factors)

    def modality(self, name: str | int) -> int:
        """Index of a modality given by name or index."""
        return self._index("modality", name, self.num_modalities)

    def _index(self, kind: str, name: str | int, count: int) -> int:
        if isinstance(name, str):
            if name not in self.labels[kind]:
                known = list(self.labels[kind])
                raise ValueError(f"{kind} must be one of {known}; got {name!r}{checks.meant(name, known)}")
            return self.labels[kind].index(name)
        return checks.whole_number(name, kind, 0, count - 1)

    def __repr__(self) -> str:
        def sizes(numbers: tuple[int, ...], one: str, several: str) -> str:
            few = ", ".join(str(n) for n in numbers[:8]) + (", ..." if len(numbers) > 8 else "")
            return f"{len(numbers)} {one if len(numbers) == 1 else several} ({few})"

        parts = [
            sizes(self.num_states, "factor", "factors") + " of states",
            sizes(self.num_outcomes, "modality", "modalities") + " of outcomes",
            f"{len(self.policies)} {'policy' if len(self.policies) == 1 else 'policies'} of {self.policy_length} "
            f"{'step' if self.policy_length == 1 else 'steps'}",
            f"{len(self.learned)} learned" if self.learned else "nothing learned",
        ]
        return f"POMDP({'; '.join(parts)})"

    def _repr_html_(self) -> str:
        """What a notebook shows: factors and modalities, their sizes and labels."""
        from activebmr.model.showing import html_of_model

        return html_of_model(self)

    def with_(self, **changes: Any) -> POMDP:
        """A copy with some fields replaced, checked anew; policies that were made by default are made again to fit, and
        what is the mean of counts follows the counts.

        Raises:
            TypeError: if a field is none of `POMDP`'s.
            ValueError, TypeError: as `POMDP` does.
        """
        checks.known_arguments(changes, [f.name for f in fields(self) if f.init], "POMDP")
        for kind in ("A", "B", "D"):
            if f"p{kind}" in changes and kind not in changes:
                counts = () if changes[f"p{kind}"] is None else checks.sequence(changes[f"p{kind}"], f"p{kind} of POMDP")
                values = getattr(self, kind)
                held = [i < len(counts) and counts[i] is not None for i in range(len(values))]
                changes[kind] = [None if new else x for x, new in zip(values, held, strict=True)]
        for kind in ("pA", "pB", "pD", "pE"):  # that nothing is counted holds for any number of tables
            held = getattr(self, kind)
            if kind not in changes and isinstance(held, tuple) and all(x is None for x in held):
                changes[kind] = None
        if self._default_policies and "policies" not in changes and changes.keys() & {"policy_length", "B"}:
            changes["policies"] = None
        if "B" in changes and "E" not in changes and isinstance(self.E, tuple) and all((e == e[0]).all() for e in self.E):
            changes["E"] = None
        if changes.get("pE") is not None and "E" not in changes:
            changes.update(self._habits_beside(changes["pE"]))
        return replace(self, **changes)

    def _habits_beside(self, counts: Any) -> dict[str, Any]:
        """What E becomes with other counts of habits: their mean; what they say nothing of stays as it is."""
        if counts is None:
            return {}
        if _is_vector(counts) or isinstance(self.pE, np.ndarray):
            return {"E": None}
        if not isinstance(self.E, tuple):
            return {}
        held = [i < len(counts) and counts[i] is not None for i in range(len(self.E))]
        return {"E": [None if new else e for e, new in zip(self.E, held, strict=True)]}

    # --- validation ------------------------------------------------------------------------------------------------------
    def _checked_dependencies(self, name: str, given: Any, count: int) -> tuple[tuple[int, ...], ...]:
        factors = len(self.B)
        if given is None:
            given = [list(range(factors))] * count
        if len(given) != count:
            raise ValueError(f"{name} must have {count} entries; got {len(given)}")
        for i, deps in enumerate(given):
            checks.sequence(deps, f"{name}[{i}]")
            whole = all(checks.is_whole(d) and 0 <= d < factors for d in deps)
            if not whole or len(deps) == 0 or len({int(d) for d in deps}) != len(deps):
                raise ValueError(f"{name}[{i}] must list distinct factors in 0..{factors - 1}; got {list(deps)}")
        return tuple(tuple(int(d) for d in deps) for deps in given)

    def _checked_b(self) -> tuple[NDArray[np.float64], ...]:
        if len(self.B) == 0:
            raise ValueError("B of POMDP must have at least one factor; got none")
        for f, (b, counts) in enumerate(zip(self.B, self.pB, strict=True)):
            if b is None and counts is None:
                raise ValueError(f"B[{f}] of POMDP must be given where pB[{f}] is None")
        values = [mean(self.pB[f]) if b is None else b for f, b in enumerate(self.B)]
        arrays = [float_array(b, f"B[{f}] of POMDP") for f, b in enumerate(values)]
        given = [[f] for f in range(len(arrays))] if self.B_dependencies is None else self.B_dependencies
        deps = self._checked_dependencies("B_dependencies", given, len(arrays))
        object.__setattr__(self, "B_dependencies", deps)
        for f, b in enumerate(arrays):
            if b.ndim != len(deps[f]) + 2:
                raise ValueError(
                    f"B[{f}] of POMDP must have {len(deps[f]) + 2} axes (next state, {len(deps[f])} states, control); "
                    f"got {b.ndim}"
                )
            wanted = (b.shape[0], *(arrays[d].shape[0] for d in deps[f]))
            if b.shape[:-1] != wanted or 0 in b.shape:
                raise ValueError(f"B[{f}] of POMDP must have shape {wanted} + (controls,); got {b.shape}")
        return tuple(frozen(columns(b, f"B[{f}] of POMDP", "next states")) for f, b in enumerate(values))

    def _checked_a(self) -> tuple[NDArray[np.float64], ...]:
        if len(self.A) == 0:
            raise ValueError("A of POMDP must have at least one modality; got none")
        out = []
        for m, a in enumerate(self.A):
            if a is None and self.pA[m] is None:
                raise ValueError(f"A[{m}] of POMDP must be given where pA[{m}] is None")
            given = a
            a = mean(self.pA[m]) if a is None else float_array(a, f"A[{m}] of POMDP")
            wanted = tuple(self.num_states[f] for f in self.A_dependencies[m])
            if a.ndim < 2 or a.shape[1:] != wanted:
                raise ValueError(
                    f"A[{m}] of POMDP must have shape (outcomes,) + {wanted}, the states it depends on; got {a.shape}"
                )
            out.append(frozen(a if given is None else columns(given, f"A[{m}] of POMDP", "outcomes")))
        return tuple(out)

    def _checked_c(self) -> tuple[NDArray[np.float64], ...]:
        given = (None,) * self.num_modalities if self.C is None else self.C
        if len(given) != self.num_modalities:
            raise ValueError(f"C of POMDP must have one entry per modality ({self.num_modalities}); got {len(given)}")
        out = []
        for m, (c, n) in enumerate(zip(given, self.num_outcomes, strict=True)):
            c = np.zeros(n) if c is None else float_array(c, f"C[{m}] of POMDP")
            if c.ndim not in (1, 2) or c.shape[-1] != n or 0 in c.shape:
                raise ValueError(f"C[{m}] of POMDP must have shape ({n},) or (time, {n}); got {c.shape}")
            if np.isnan(c).any() or (c == np.inf).any():
                raise ValueError(f"C[{m}] of POMDP must hold log preferences below infinity; got {c}")
            if (c == -np.inf).all(axis=-1).any():
                raise ValueError(f"C[{m}] of POMDP must leave some outcome possible; got {c}")
            out.append(frozen(c))
        return tuple(out)

    def _checked_d(self) -> tuple[NDArray[np.float64], ...]:
        given = (None,) * self.num_factors if self.D is None else self.D
        if len(given) != self.num_factors:
            raise ValueError(f"D of POMDP must have one entry per factor ({self.num_factors}); got {len(given)}")
        out = []
        for f, (d, n, counts) in enumerate(zip(given, self.num_states, self.pD, strict=True)):
            if d is None:
                d = np.full(n, 1.0 / n) if counts is None else mean(counts)
            if float_array(d, f"D[{f}] of POMDP").shape != (n,):
                raise ValueError(f"D[{f}] of POMDP must have shape ({n},); got {np.shape(d)}")
            out.append(frozen(columns(d, f"D[{f}] of POMDP", "states")))
        return tuple(out)

    def _checked_policies(self) -> NDArray[np.intp]:
        checks.whole_number(self.policy_length, "policy_length", least=1)
        if self.policies is None:
            count = float(np.prod(self.num_controls, dtype=float)) ** int(self.policy_length)
            if count > 1e6:
                raise ValueError(
                    f"policy_length={self.policy_length} makes {count:.3g} policies; list the ones you want in policies"
                )
            return frozen(policy_sequences(self.num_controls, int(self.policy_length)), np.intp)
        if isinstance(self.policies, np.ma.MaskedArray):
            raise ValueError("policies must not be masked")
        try:
            raw = np.asarray(self.policies)
        except ValueError:  # lists of different lengths
            raise TypeError(f"policies must hold controls in rows of one length; got {checks.brief(self.policies)}") from None
        if raw.ndim == 2:
            raw = raw[:, None, :]
        if raw.ndim != 3 or raw.shape[2] != self.num_factors or 0 in raw.shape:
            raise ValueError(
                f"policies must have shape (policies, steps, {self.num_factors} factors); got {np.shape(self.policies)}"
            )
        if not np.issubdtype(raw.dtype, np.integer):
            raise TypeError(f"policies must hold integers (indices of controls); got {raw.dtype}")
        for f, n in enumerate(self.num_controls):
            bad = (raw[:, :, f] < 0) | (raw[:, :, f] >= n)
            if bad.any():
                p, h = (int(i) for i in np.argwhere(bad)[0])
                raise ValueError(
                    f"policies[{p}, {h}, {f}] must lie in 0..{n - 1}, the controls of factor {f}; got {int(raw[p, h, f])}"
                )
        return frozen(raw, np.intp)

    def _checked_pe(self) -> Any:
        """Counts of habits: None, per factor, or one vector over policies."""
        if self.pE is None:
            return (None,) * self.num_factors
        if not _is_vector(self.pE):
            counts = counts_of("pE", self.pE, self.num_factors, "factor")
            for f, (e, n) in enumerate(zip(counts, self.num_controls, strict=True)):
                if e is not None and e.shape != (n,):
                    raise ValueError(f"pE[{f}] of POMDP must have shape ({n},), the controls of factor {f}; got {e.shape}")
            return counts
        (vector,) = counts_of("pE", [self.pE], 1, "model")
        assert vector is not None
        if vector.shape != (len(self.policies),):
            raise ValueError(f"pE as a vector must have one entry per policy ({len(self.policies)}); got {vector.shape}")
        return vector

    def _checked_e(self) -> Any:
        if isinstance(self.pE, np.ndarray):
            if self.E is not None:
                check_beside("E", float_array(self.E, "E of POMDP"), self.pE)
            return frozen(mean(self.pE))
        counted = {f: mean(e) for f, e in enumerate(self.pE) if e is not None}
        if self.E is None:
            return tuple(frozen(counted.get(f, np.full(n, 1.0 / n))) for f, n in enumerate(self.num_controls))
        if counted and _is_vector(self.E):
            raise ValueError("E of POMDP must be per factor, or None, where pE is")
        if _is_vector(self.E):
            if self.E.shape != (len(self.policies),):
                raise ValueError(f"E as a vector must have one entry per policy ({len(self.policies)}); got {self.E.shape}")
            return frozen(columns(self.E, "E of POMDP", "policies"))
        if len(self.E) != self.num_factors:
            raise ValueError(
                f"E of POMDP must have one entry per factor ({self.num_factors}), or be an array over policies; "
                f"got {len(self.E)}"
            )
        out = []
        for f, (e, n) in enumerate(zip(self.E, self.num_controls, strict=True)):
            e = counted.get(f, np.full(n, 1.0 / n)) if e is None else e
            if float_array(e, f"E[{f}] of POMDP").shape != (n,):
                raise ValueError(f"E[{f}] of POMDP must have shape ({n},), the controls of factor {f}; got {np.shape(e)}")
            out.append(frozen(columns(e, f"E[{f}] of POMDP", "controls")))
            if f in counted:
                check_beside(f"E[{f}]", out[-1], self.pE[f])
        return tuple(out)

    def _checked_labels(self) -> dict[str, Any]:
        given = dict(checks.mapping(self.labels, "labels of POMDP"))
        known = ("factor", "modality", "states", "outcomes", "controls")
        unknown = sorted(set(given) - set(known), key=str)
        if unknown:
            near = checks.meant(unknown[0], known)
            raise ValueError(f"labels of POMDP must have keys among {list(known)}; got {unknown[0]!r}{near}")
        out: dict[str, Any] = {
            "factor": self._names("factor", given, self.num_factors),
            "modality": self._names("modality", given, self.num_modalities),
        }
        for key, owner, sizes in (
            ("states", "factor", self.num_states),
            ("outcomes", "modality", self.num_outcomes),
            ("controls", "factor", self.num_controls),
        ):
            inner = dict(checks.mapping(given.get(key, {}), f"labels[{key!r}] of POMDP"))
            strange = sorted(set(inner) - set(out[owner]), key=str)
            if strange:
                raise ValueError(
                    f"labels[{key!r}] must be keyed by names of {owner} {out[owner]}; got {strange[0]!r}"
                    + checks.meant(strange[0], out[owner])
                )
            out[key] = {}
            for name, n in zip(out[owner], sizes, strict=True):
                names = [str(s) for s in checks.sequence(inner.get(name, range(n)), f"labels[{key!r}][{name!r}]")]
                if len(names) != n:
                    raise ValueError(f"labels[{key!r}][{name!r}] must have {n} names; got {len(names)}")
                out[key][name] = names
        return out

    @staticmethod
    def _names(kind: str, given: Mapping[str, Any], count: int) -> list[str]:
        held = checks.sequence(given.get(kind, [f"{kind}_{i}" for i in range(count)]), f"labels[{kind!r}] of POMDP")
        names = [str(n) for n in held]
        if len(names) != count or len(set(names)) != count:
            raise ValueError(f"labels[{kind!r}] must be {count} different names; got {names}")
        return names


def _is_vector(values: Any) -> bool:
    """Whether priors (or counts) of actions are one vector over policies, not one per factor."""
    return isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype != object
