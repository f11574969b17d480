"""A kernel's tree in which one file at a time is changed, with the toy kernel."""

from __future__ import annotations

from pathlib import Path

from harness.artefacts.kernel.build import build_kernel
from harness.artefacts.store import Store
from harness.campaigns.mutation.trees import kernel_tree
from harness.progress import Silent
from harness.values import FolderSeries, KernelArtefact, KernelProfile

from .conftest import make_checkout, make_patch


def test_a_change_is_compiled_and_put_into_the_image(
    store: Store, toy: Path, profile: KernelProfile, fragments: Path, tmp_path: Path
) -> None:
    del fragments
    make_checkout(toy)
    series = tmp_path / "series"
    series.mkdir()
    (series / "series").write_text("one.patch\n")
    before = (toy / "kernel/fork.c").read_text()
    after = before.replace("fork_count++;", "fork_count++;\n\tfork_count += 1234;")
    (series / "one.patch").write_text(make_patch(toy, "Count", **{"kernel/fork.c": after}))
    patched = profile.model_copy(update={"series": FolderSeries(path=series)})
    unchanged = build_kernel(patched, store, Silent())
    log = tmp_path / "log"
    with kernel_tree(patched, unchanged, store, Silent()) as tree:
        assert tree.added == {"kernel/fork.c": {7}}
        tree.prepare(log)
        assert tree.objects("kernel/fork.c") == ("kernel/fork.o",)
        with tree.changed("kernel/fork.c", after.replace("+= 1234", "+= (1234)").encode()):
            assert tree.compile("kernel/fork.c", log) == ""
        with tree.changed("kernel/fork.c", after.replace("1234", "4321").encode()):
            assert tree.compile("kernel/fork.c", log)
            assert tree.make(tree.all_of_it(), log)
        built = tree.built(tmp_path / "built")["kernel"]
    assert isinstance(built, KernelArtefact)
    image = (built.path / "bzImage").read_bytes()
    assert (4321).to_bytes(4, "little") in image
    assert (1234).to_bytes(4, "little") not in image
    # The kept folder of other builds, and what they have built, is as it was.
    assert (1234).to_bytes(4, "little") in (unchanged.path / "bzImage").read_bytes()
    assert build_kernel(patched, store, Silent()) == unchanged
    assert (store.root / "work/kernel-toy-mutants-gcc").is_dir()
