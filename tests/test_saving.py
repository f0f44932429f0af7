"""Compacted networks on disk and in ONNX: the same numbers come back, and files that are wrong are told."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from nets import SHAPES, counts_on_a_size, made, pruned, to_sizes  # noqa: E402
from torch import nn  # noqa: E402

from activebmr.pruning.structures.compaction import compact, structure_of  # noqa: E402
from activebmr.pruning.structures.saving import FORMAT_VERSION, load_compact, save_compact  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def example(name, n=2):
    return torch.randn(n, *SHAPES[name])


def same(a, b, x):
    """Whether two networks have the same state and outputs, bit for bit."""
    one, two = a.state_dict(), b.state_dict()
    with torch.no_grad():
        return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one) and torch.equal(a(x), b(x))


@pytest.fixture
def saved(tmp_path):
    """A folder with a small multilayer perceptron."""
    return save_compact(compact(pruned(made("mlp")), example("mlp")), tmp_path / "mlp")


def change(folder, **values):
    path = folder / "structure.json"
    held = {**json.loads(path.read_text()), **values}
    held.pop("structure_sha256", None)  # files of before have none
    path.write_text(json.dumps(held))


# --- there and back ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", SHAPES)
def test_same_bits_come_back(name, tmp_path):
    small = compact(pruned(made(name)), example(name))
    folder = save_compact(small, tmp_path / "a" / "b")
    assert sorted(p.name for p in folder.iterdir()) == ["structure.json", "weights.safetensors"]
    dense = made(name, seed=7)
    before = {k: v.clone() for k, v in dense.state_dict().items()}
    back = load_compact(dense, folder, example(name))
    assert same(small, back, example(name, 20)) and not back.training
    assert structure_of(back) == structure_of(small)
    assert all(torch.equal(before[k], v) for k, v in dense.state_dict().items())


class Numbered(nn.Module):
    """A forward with numbers in its calls."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 5, 1), nn.Linear(20, 3)

    def forward(self, x):
        return self.c(self.b(torch.relu(self.a(x)).view(-1, 6, 2, 2)).reshape(-1, 20))


REPLACED = {
    # network, shape of an example, names of the modules that `compact` puts into it
    "layer": (lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)), (6,), {"SlimLayerNorm"}),
    "layer without weights": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8, elementwise_affine=False), nn.Linear(8, 3)),
        (6,),
        {"SlimLayerNorm"},
    ),
    "rms": (lambda: nn.Sequential(nn.Linear(6, 8), nn.RMSNorm(8), nn.Linear(8, 3)), (6,), {"SlimRMSNorm"}),
    "group": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Flatten(), nn.Linear(32, 3)),
        (3, 4, 4),
        {"SlimGroupNorm"},
    ),
    "batch, without weights": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)),
        (3, 4, 4),
        set(),
    ),
    "grouped convolution": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=4), nn.Flatten(), nn.Linear(32, 3)),
        (3, 4, 4),
        set(),
    ),
    "attention of torch": (
        lambda: nn.Sequential(nn.TransformerEncoderLayer(12, 4, 10, batch_first=True), nn.Flatten(), nn.Linear(60, 3)),
        (5, 12),
        {"SlimAttention"},
    ),
    "numbers in calls": (Numbered, (3, 4, 4), set()),
}


@pytest.mark.parametrize("name", REPLACED)
def test_modules_that_compaction_has_put_in_come_back(name, tmp_path):
    make, shape, modules = REPLACED[name]
    torch.manual_seed(0)
    net, x = make(), torch.randn(4, *shape)
    small = compact(pruned(net, share=0.6, example_inputs=x), x)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())
    assert {type(m).__name__ for m in small.modules() if type(m).__name__.startswith("Slim")} == modules
    folder = save_compact(small, tmp_path)
    for inputs in (x, None):  # nothing need be run
        back = load_compact(make(), folder, inputs)
        assert same(small, back, x)
        assert [type(m).__name__ for m in back.modules()] == [type(m).__name__ for m in small.modules()]
    assert isinstance(small, type(net)) and isinstance(back, type(net))
    for twin in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert same(small, twin, x) and structure_of(twin) == structure_of(small)


def test_what_had_to_stay_comes_back(tmp_path):
    """A forward that counts on a size: the layer is switched off, not cut, and the file tells so."""

    x = torch.randn(2, 3, 6, 6)
    small = compact(pruned(counts_on_a_size(), share=0.5, names=["b"], example_inputs=x), x)
    (structure,) = structure_of(small)
    assert structure.kept == {} and list(structure.left) == ["b"]
    back = load_compact(counts_on_a_size(), save_compact(small, tmp_path), x)
    assert same(small, back, x) and structure_of(back) == [structure]


def test_modules_that_look_at_their_version_come_back(tmp_path):
    """State of modules has versions beside the weights, which some look at when they are loaded."""

    class Versioned(nn.Linear):
        _version = 3

        def _load_from_state_dict(self, state, prefix, metadata, *rest):
            assert metadata.get("version") == 3
            super()._load_from_state_dict(state, prefix, metadata, *rest)

    make = lambda: nn.Sequential(Versioned(10, 8), nn.ReLU(), nn.Linear(8, 3))  # noqa: E731
    small = compact(pruned(make()), example("mlp"))
    assert same(small, load_compact(make(), save_compact(small, tmp_path)), example("mlp"))


def test_state_that_is_no_tensor_is_refused(tmp_path):
    class Counting(nn.Linear):
        def get_extra_state(self):
            return {"calls": 3}

        def set_extra_state(self, state):
            pass

    small = compact(pruned(nn.Sequential(Counting(10, 8), nn.ReLU(), nn.Linear(8, 3))), example("mlp"))
    with pytest.raises(ValueError, match="state of tensors alone; '0._extra_state' is a dict"):
        save_compact(small, tmp_path)


def test_weights_that_are_tied_come_back_tied(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.fc1, self.fc2 = nn.Embedding(11, 6), nn.Linear(6, 8), nn.Linear(8, 6)
            self.decode = nn.Linear(6, 11, bias=False)
            self.decode.weight = self.embed.weight

        def forward(self, x):
            x = self.embed(x)
            return self.decode(x + self.fc2(torch.relu(self.fc1(x))))

    net, x = Tied(), torch.randint(0, 11, (4, 5))
    small = compact(pruned(net, example_inputs=x), x)
    back = load_compact(Tied(), save_compact(small, tmp_path), x)
    assert same(small, back, x) and small.fc1.out_features < 8
    assert small.decode.weight is small.embed.weight and back.decode.weight is back.embed.weight


def test_two_compactions_come_back(tmp_path):
    small = compact(pruned(compact(pruned(made("vit-mha")), example("vit-mha"))), example("vit-mha"))
    assert len(structure_of(small)) == 2
    back = load_compact(made("vit-mha", 3), save_compact(small, tmp_path), example("vit-mha"))
    assert same(small, back, example("vit-mha", 20))


def test_network_trained_further_comes_back(tmp_path):
    small = compact(pruned(made("residual")), example("residual")).train()
    optimiser = torch.optim.SGD(small.parameters(), 0.1)
    small(example("residual", 8)).square().mean().backward()
    optimiser.step()
    back = load_compact(made("residual"), save_compact(small, tmp_path), example("residual"))
    assert same(small.eval(), back, example("residual", 20))


def test_nothing_pruned_comes_back(tmp_path):
    small = compact(pruned(made("mlp"), share=0.0), example("mlp"))
    assert same(small, load_compact(made("mlp", 1), save_compact(small, tmp_path), example("mlp")), example("mlp"))


def test_structure_is_plain_data(saved):
    about = json.loads((saved / "structure.json").read_text())
    assert about["format_version"] == FORMAT_VERSION and about["torch_version"] == str(torch.__version__)
    (one,) = about["compactions"]
    assert {name: s["n"] for name, s in one["sites"].items()} == {"0": 12, "2": 9}
    first, second = (one["sites"][name]["kept"] for name in "02")
    first, second = {"n": 12, "kept": first}, {"n": 9, "kept": second}
    assert one["kept"] == {
        "0.weight": {"0": first},
        "0.bias": {"0": first},
        "2.weight": {"0": second, "1": first},
        "2.bias": {"0": second},
        "4.weight": {"1": second},
    }
    assert one["norms"] == one["sizes"] == one["left"] == {} and one["attention"] == []


# --- files that are wrong ------------------------------------------------------------------------------------------
def test_missing_files(tmp_path, saved):
    with pytest.raises(FileNotFoundError, match="folder must hold structure.json"):
        load_compact(made("mlp"), tmp_path / "none", example("mlp"))
    (saved / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="folder must hold weights.safetensors"):
        load_compact(made("mlp"), saved, example("mlp"))


@pytest.mark.parametrize("left", [0, 5, 100, -1])
def test_truncated_files(saved, left):
    for name, message in (("weights.safetensors", "damaged or another"), ("structure.json", "must be JSON")):
        whole = (saved / name).read_bytes()
        (saved / name).write_bytes(whole.rstrip()[:left])
        with pytest.raises(ValueError, match=message):
            load_compact(made("mlp"), saved, example("mlp"))
        (saved / name).write_bytes(whole)
    load_compact(made("mlp"), saved, example("mlp"))


def test_weights_that_are_no_safetensors(saved):
    import hashlib

    (saved / "weights.safetensors").write_bytes(b"\x80\x04K\x01.")  # a pickle
    change(saved, weights_sha256=hashlib.sha256(b"\x80\x04K\x01.").hexdigest())
    with pytest.raises(ValueError, match="must be a safetensors file"):
        load_compact(made("mlp"), saved, example("mlp"))


def test_files_of_two_networks(saved, tmp_path):
    other = save_compact(compact(pruned(made("mlp", 4)), example("mlp")), tmp_path / "other")
    (saved / "weights.safetensors").write_bytes((other / "weights.safetensors").read_bytes())
    with pytest.raises(ValueError, match="damaged or another"):
        load_compact(made("mlp"), saved, example("mlp"))


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 1, 0, "1", None, True, 1.0])
def test_versions(saved, version):
    change(saved, format_version=version)
    message = "whole format_version >= 1; got"
    if version == FORMAT_VERSION + 1:
        message = "a newer activebmr wrote it"
    elif type(version) is int and version == 1:
        message = "must have format_version 2; got 1: .*compact again"
    with pytest.raises(ValueError, match=message):
        load_compact(made("mlp"), saved, example("mlp"))


BAD_KEPT = [[], [0, 0], [1, 0], [0, 12], [-1, 0], [0.0], "01", None, [True]]


@pytest.mark.parametrize("kept", BAD_KEPT, ids=str)
@pytest.mark.parametrize("where", ["sites", "kept", "norms"])
def test_kept_indices(saved, where, kept):
    about = json.loads((saved / "structure.json").read_text())
    one, message = about["compactions"][0], "must have kept indices"
    if where == "sites":
        one["sites"]["0"]["kept"] = kept
    elif where == "kept":
        one["kept"]["0.weight"]["0"]["kept"] = kept
    else:
        one["norms"]["0"] = {"kind": "layer", "axis": -1, "total": 12, "kept": kept}
    change(saved, **about)
    with pytest.raises(ValueError, match=message):
        load_compact(made("mlp"), saved, example("mlp"))


@pytest.mark.parametrize("compactions", [None, [3], [{}], [{"sites": {}}], "full"])
def test_other_contents(saved, compactions):
    change(saved, compactions=compactions)
    with pytest.raises(ValueError, match="structure.json must have"):
        load_compact(made("mlp"), saved, example("mlp"))


NORM = {"kind": "layer", "axis": -1, "total": 12, "kept": [0, 1]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("sites", v) for v in ([], [3], {"0": 3}, {"0": {"n": 2}}, {"0": {"n": 0, "kept": [0]}})),
        *(("kept", v) for v in ([], {"0.weight": [0]}, {"0.weight": {"first": [0]}}, {"0.weight": {"-1": [0]}})),
        *(("norms", {"0": {**NORM, **v}}) for v in ({"kind": "batch"}, {"axis": "-1"}, {"total": 0}, {"total": 1})),
        *(("sizes", {"0": {"n": v}}) for v in ("3", 0, [0.5], None)),
        *(("norms", None), ("attention", {}), ("attention", [3])),
        *(("shapes", v) for v in ([], {"0": [1]}, {"0": {"0": [3]}}, {"0": {"first": {"0": 3}}}, {"0": {"0": {"0": 0}}})),
        *(("sizes", 3), ("sizes", {"0": 3}), ("left", None), ("left", "0"), ("left", {"0": [0]})),
    ],
    ids=str,
)
def test_other_structures(saved, key, value):
    about = json.loads((saved / "structure.json").read_text())
    about["compactions"][0][key] = value
    change(saved, **about)
    with pytest.raises(ValueError, match="structure.json must have"):
        load_compact(made("mlp"), saved, example("mlp"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("kept", {"none.weight": {"0": {"n": 3, "kept": [0]}}}, "net must have the parameter 'none.weight'; it has not"),
        ("kept", {"0.weight": {"2": {"n": 3, "kept": [0]}}}, "net must have .* entries along axis 2 of '0.weight'"),
        ("norms", {"none": NORM}, "net must have the module 'none'; it has not"),
        ("norms", {"0": {**NORM, "kind": "group"}}, "net must have"),
        ("norms", {"1": NORM}, "net must have"),
        ("attention", ["none"], "net must have the module 'none'; it has not"),
        ("attention", ["0"], "net must have an nn.MultiheadAttention in '0'; it is a Linear"),
        ("sizes", {"none": {"n": 3}}, "net must have the module 'none'; it has not"),
        ("shapes", {"none": {"eval": {"0": {"1": 3}}}}, "net must have the module 'none'; it has not"),
        ("sizes", {"0": {"forward": 3}}, "net must have"),
    ],
    ids=str,
)
def test_structures_of_what_is_not_there(saved, key, value, message):
    about = json.loads((saved / "structure.json").read_text())
    about["compactions"][0][key] = value
    change(saved, **about)
    with pytest.raises(ValueError, match=message):
        load_compact(made("mlp"), saved, example("mlp"))


def test_a_structure_that_was_edited(saved):
    about = json.loads((saved / "structure.json").read_text())
    (saved / "structure.json").write_text(json.dumps({**about, "network": "Other"}))
    with pytest.raises(ValueError, match="structure.json must be as save_compact wrote it; its digest is that of another text"):
        load_compact(made("mlp"), saved, example("mlp"))


def test_metadata_of_the_state(saved):
    for metadata in (3, {"0": 3}, {"0": {"version": [1]}}):
        change(saved, state_metadata=metadata)
        with pytest.raises(ValueError, match="must have state_metadata of plain values, by module"):
            load_compact(made("mlp"), saved, example("mlp"))


# --- networks that are wrong ---------------------------------------------------------------------------------------
def linears(*sizes):
    return nn.Sequential(*(m for a, b in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(a, b), nn.Tanh())))[:-1]


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: made("lenet"), "net must have the parameter '0.weight'; it has not"),
        (lambda: linears(10, 13, 9, 4), "net must have 12 .*'0.*; it has .13"),
        (lambda: linears(10, 12, 9, 3), "shape of '4.(weight|bias)' is .* not"),
        (lambda: linears(10, 12, 9, 4, 4), "the folder lacks '6.bias'"),
        (lambda: linears(10, 12, 9), "net must have the parameter '4.weight'; it has not"),
        (lambda: linears(10, 9, 9, 4), "net must have .*'0.*"),
        (lambda: linears(10, 12, 9, 4).double(), "dtype of '[024].(weight|bias)' is torch.float64, not torch.float32"),
    ],
)
def test_other_networks(saved, net, message):
    dtype = torch.float64 if "float64" in message else torch.float32
    x = example("lenet") if "'0.weight'; it has not" in message else torch.randn(2, 10, dtype=dtype)
    for inputs in (x, None):
        with pytest.raises(ValueError, match=message):
            load_compact(net(), saved, inputs)


def test_wrong_arguments(tmp_path, saved):
    with pytest.raises(ValueError, match="small must be a network made by compact"):
        save_compact(made("mlp"), tmp_path)
    with pytest.raises(TypeError, match="net must be a torch.nn.Module; got '"):
        load_compact("mlp", saved, example("mlp"))
    with pytest.raises(Exception, match="cannot be multiplied"):  # what does not fit is found now
        load_compact(made("mlp"), saved, torch.randn(2, 11))


# --- ONNX ----------------------------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.. is deprecated:FutureWarning")  # torch's own, of itself
@pytest.mark.parametrize("name", ["lenet", "residual", "vit", "vit-mha"])
def test_onnx_computes_the_same(name, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    noisy = pruned(made(name), share=0.3)
    if name == "lenet":
        to_sizes(noisy, fc1=19)
    small = compact(noisy, example(name))
    x = example(name, 100)
    path = str(tmp_path / "small.onnx")
    torch.onnx.export(small, (x,), path, dynamo=True, verbose=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        assert float((torch.from_numpy(got) - noisy(x)).abs().max()) < 1e-4
