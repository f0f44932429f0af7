"""Compacted networks on disk and in ONNX: the same numbers come back, and files that are wrong are told."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch_pruning")
pytest.importorskip("safetensors")

from nets import SHAPES, made, pruned, to_sizes  # noqa: E402
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
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


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


AWKWARD = {
    "bias that was not there": lambda: nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 3, bias=False)),
        *(nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)),
    ),
    "weights of a normalisation that were not there": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3)
    ),
    "scales": lambda: nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 3)),
        *(nn.Tanh(), nn.Flatten(), nn.Linear(24, 3)),
    ),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_what_compaction_adds_comes_back(name, tmp_path):
    torch.manual_seed(0)
    net, x = AWKWARD[name](), torch.randn(4, 3, 6, 6)
    for module in net:
        if isinstance(module, nn.BatchNorm2d) and module.bias is not None:
            nn.init.normal_(module.bias)
    small = compact(pruned(net), x)
    structure = structure_of(small)[0]
    assert structure.scales or structure.biases or structure.affine
    assert same(small, load_compact(AWKWARD[name](), save_compact(small, tmp_path), x), x)


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
    assert [(s["layer"], s["n"]) for s in one["layers"]] == [("0", 12), ("2", 9)]


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


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 0, "1", None, True, 1.0])
def test_versions(saved, version):
    change(saved, format_version=version)
    message = "a newer activebmr wrote it" if version == FORMAT_VERSION + 1 else "whole format_version >= 1; got"
    with pytest.raises(ValueError, match=message):
        load_compact(made("mlp"), saved, example("mlp"))


@pytest.mark.parametrize("kept", [[], [0, 0], [1, 0], [0, 12], [-1, 0], [0.0], "01", None, [True]], ids=lambda kept: str(kept))
def test_kept_indices(saved, kept):
    about = json.loads((saved / "structure.json").read_text())
    about["compactions"][0]["layers"][0]["kept"] = kept
    change(saved, **about)
    with pytest.raises(ValueError, match="must have kept indices"):
        load_compact(made("mlp"), saved, example("mlp"))


@pytest.mark.parametrize(
    "compactions",
    [None, [3], [{}], [{"layers": []}], "full"],
)
def test_other_contents(saved, compactions):
    change(saved, compactions=compactions)
    with pytest.raises(ValueError, match="structure.json must have"):
        load_compact(made("mlp"), saved, example("mlp"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("layers", {}), ("layers", [3]), ("layers", [{"n": 2, "kept": [0]}]), ("heads", []), ("heads", {"a": None})),
        *(("scales", {"0": 3}), ("scales", {"0": [0]}), ("scales", []), ("affine", [1]), ("biases", "0"), ("left", None)),
    ],
)
def test_other_structures(saved, key, value):
    about = json.loads((saved / "structure.json").read_text())
    about["compactions"][0][key] = value
    change(saved, **about)
    with pytest.raises(ValueError, match="structure.json must have"):
        load_compact(made("mlp"), saved, example("mlp"))


@pytest.mark.parametrize("key", ["scales", "affine", "biases"])
def test_structures_of_layers_that_are_not_there(saved, key):
    about = json.loads((saved / "structure.json").read_text())
    about["compactions"][0][key] = {"none": [3]} if key == "scales" else ["none"]
    change(saved, **about)
    with pytest.raises(ValueError, match="net must have the layer 'none'"):
        load_compact(made("mlp"), saved, example("mlp"))


# --- networks that are wrong ---------------------------------------------------------------------------------------
def linears(*sizes):
    return nn.Sequential(*(m for a, b in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(a, b), nn.Tanh())))[:-1]


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: made("lenet"), "net must have the layer '0'; it has not"),
        (lambda: linears(10, 13, 9, 4), "net must have 12 structures in '0'; it has 13"),
        (lambda: linears(10, 12, 9, 3), "shape of '4.(weight|bias)' is .* not"),
        (lambda: linears(10, 12, 9, 4, 4), "the folder lacks '6.bias'"),
        (lambda: linears(10, 12, 9), "net must have the weights .*, and net has not"),
        (lambda: linears(10, 12, 9, 4).double(), "dtype of '[024].(weight|bias)' is torch.float64, not torch.float32"),
    ],
)
def test_other_networks(saved, net, message):
    dtype = torch.float64 if "float64" in message else torch.float32
    x = example("lenet") if "layer" in message else torch.randn(2, 10, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        load_compact(net(), saved, x)


def test_wrong_arguments(tmp_path, saved):
    with pytest.raises(ValueError, match="small must be a network made by compact"):
        save_compact(made("mlp"), tmp_path)
    with pytest.raises(TypeError, match="net must be a torch.nn.Module; got str"):
        load_compact("mlp", saved, example("mlp"))


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
