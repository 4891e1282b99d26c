"""A mistake in a bootstrap file or weft-dev.toml is told in words of the file, with the key that was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.bootstrap import BootstrapError
from runtime.bootstrap import load as load_bootstrap
from weft.dev.devfile import load as load_devfile
from weft.local.children import LocalError

GOOD = 'store = "s"\nroot = "r"\nstate = "t"\n[selector]\nname = "sidecar/a/b"\n'


@pytest.mark.parametrize(
    ("given", "mistaken", "says"),
    [
        ("store =", "stroe =", "there is no key `stroe`, did you mean `store`?"),
        ('state = "t"\n', "", "the key `state` is missing"),
        ('store = "s"', "store = 5", "`store` must be a text and is a whole number"),
        ("name =", "nmae =", "there is no key `nmae` in selector, did you mean `name`?"),
        ('store = "s"', "store = ", "it is not TOML: "),
    ],
)
def test_a_bootstrap_file(tmp_path: Path, given: str, mistaken: str, says: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(GOOD)
    load_bootstrap(file)
    file.write_text(GOOD.replace(given, mistaken))
    with pytest.raises(BootstrapError) as caught:
        load_bootstrap(file)
    assert str(caught.value).startswith(f"{file}: {says}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[process.a]\ncomand = 'x'", "there is no key `comand` in process[...], did you mean `command`?"),
        ("[process.a]\ncommand = 5", "`process[...].command` must be a text or a list and is a whole number"),
        ("[process.a]\nworkload = 'a/b'", "the key `command` in process[...] is missing"),
        ("[proces.a]\n", "there is no key `proces`, did you mean `process`?"),
        ("mesh = ", "it is not TOML: "),
    ],
)
def test_a_file_of_weft_dev(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "weft-dev.toml").write_text(text)
    with pytest.raises(LocalError) as caught:
        load_devfile(tmp_path)
    assert says in str(caught.value)


def test_a_path_in_a_bootstrap_file_is_told_without_detours(tmp_path: Path) -> None:
    (tmp_path / "proxies").mkdir()
    file = tmp_path / "proxies" / "a.toml"
    file.write_text(GOOD.replace('"r"', '"../keys/root.json"'))
    assert load_bootstrap(file).root == f"{tmp_path.resolve()}/keys/root.json"
