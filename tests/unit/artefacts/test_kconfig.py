"""Fragments, their merge, and the check of what came out, with Kconfig's own reasons."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import paths
from harness.artefacts.kernel import kconfig, kconfig_expr
from harness.artefacts.kernel.kconfig import Option, parse_config, parse_fragment
from harness.artefacts.kernel.kconfig_expr import Compare, Either, Every, Expression, Not, Symbol
from harness.artefacts.kernel.kconfig_reader import KconfigReader, explain
from harness.errors import BuildError, UserError


def options(text: str, name: str = "base") -> dict[str, Option]:
    return kconfig.merge([parse_fragment(text, name)])[0]


def test_a_fragment_is_a_value() -> None:
    text = '# Why.\n\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=0x10\nCONFIG_D="a # b"\n'
    fragment = parse_fragment(text, "base")
    assert [(one.name, one.value, one.line) for one in fragment.options] == [
        ("A", "y", 3),
        ("B", "n", 4),
        ("C", "0x10", 5),
        ("D", '"a # b"', 6),
    ]
    assert [one.text for one in fragment.options][1] == "# CONFIG_B is not set"
    assert type(fragment).model_validate_json(fragment.model_dump_json()) == fragment


@pytest.mark.parametrize("line", ["CONFIG_A", "A=y", "CONFIG-A=y", "select A"])
def test_a_line_that_sets_nothing_is_refused(line: str) -> None:
    with pytest.raises(UserError, match="no configuration line") as caught:
        parse_fragment(f"# ok\n{line}\n", "base", Path("base.config"))
    assert caught.value.where == "base.config:2"


def test_asking_twice_in_one_fragment_is_refused() -> None:
    with pytest.raises(UserError, match="twice"):
        parse_fragment("CONFIG_A=y\nCONFIG_A=n\n", "base")


def test_a_fragment_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "base.config").touch()
    with pytest.raises(UserError, match="no fragment kasam") as caught:
        kconfig.load_fragments(["base", "kasam"], tmp_path)
    assert caught.value.hint == "the fragments are: base"


def test_a_fragment_that_is_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.config"
    path.write_text("CONFIG_A=y\n")
    (fragment,) = kconfig.load_fragments([path], tmp_path / "none")
    assert fragment.options[0].place == "mine.config:1"
    path.write_bytes(b"CONFIG_A=\xff\n")
    with pytest.raises(UserError, match="cannot be read"):
        kconfig.load_fragments([path], tmp_path)


def test_the_later_fragment_wins_and_the_conflict_is_told() -> None:
    merged, conflicts = kconfig.merge(
        [
            parse_fragment("CONFIG_A=y\nCONFIG_B=y\n", "base"),
            parse_fragment("# CONFIG_A is not set\nCONFIG_B=y\n", "kasan"),
        ]
    )
    assert {name: option.value for name, option in merged.items()} == {"A": "n", "B": "y"}
    assert [str(conflict) for conflict in conflicts] == [
        "kasan.config:1 asks for # CONFIG_A is not set, over CONFIG_A=y from base.config:1"
    ]


def test_options_go_over_a_base() -> None:
    base = parse_config("CONFIG_A=y\n# CONFIG_B is not set\n")
    text = kconfig.write_config(base, options("# CONFIG_A is not set\nCONFIG_C=3\n"))
    assert list(parse_config(text).items()) == [("B", "n"), ("A", "n"), ("C", "3")]


def test_a_later_fragment_takes_a_choice_from_an_earlier_one() -> None:
    merged, _ = kconfig.merge(
        [
            parse_fragment("CONFIG_GZIP=y\nCONFIG_XZ=y\n", "a"),
            parse_fragment("CONFIG_GZIP=y\n", "b"),
        ]
    )
    assert list(merged) == ["XZ", "GZIP"]  # the last member that is y is taken


def test_every_fragment_of_the_repository_can_be_read() -> None:
    names = sorted(path.stem for path in paths.FRAGMENTS.glob("*.config"))
    assert {"base", "kasan", "kcsan", "lockdep"} <= set(names)
    for fragment in kconfig.load_fragments(names, paths.FRAGMENTS):
        assert fragment.options


# --- verification ----------------------------------------------------------------------------


def test_an_option_that_came_through_is_no_error(toy: Path) -> None:
    asked = options("CONFIG_A=y\n# CONFIG_B is not set\n# CONFIG_C is not set\n")
    kconfig.verify(asked, {"A": "y", "B": "n"}, toy)


def test_a_dropped_option_names_its_unmet_dependency(toy: Path) -> None:
    config = {"64BIT": "y", "SMP": "y", "HYPERVISOR_GUEST": "n"}
    with pytest.raises(BuildError) as caught:
        kconfig.verify(options("# why\nCONFIG_X86_X2APIC=y\n"), config, toy)
    assert caught.value.where == "base.config:2"
    assert caught.value.detail == (
        "CONFIG_X86_X2APIC (base.config:2)\n"
        "  asked: CONFIG_X86_X2APIC=y\n"
        "  got:   nothing\n"
        "  unmet: depends on HYPERVISOR_GUEST || IRQ_REMAP (arch/x86/Kconfig:10): "
        "HYPERVISOR_GUEST is n, IRQ_REMAP is n"
    )


def test_an_option_that_came_back_names_who_selected_it(toy: Path) -> None:
    config = {"UNWANTED": "y", "GREEDY": "y"}
    with pytest.raises(BuildError) as caught:
        kconfig.verify(options("# CONFIG_UNWANTED is not set\n"), config, toy)
    assert "asked: # CONFIG_UNWANTED is not set" in (caught.value.detail or "")
    assert "got:   CONFIG_UNWANTED=y" in (caught.value.detail or "")
    assert "selected by GREEDY (Kconfig:30)" in (caught.value.detail or "")


def test_an_unknown_option_and_one_without_a_prompt(toy: Path) -> None:
    assert explain(toy, "MISSPELT", "y", {}) == ("no Kconfig file of the tree defines this option",)
    assert explain(toy, "HIDDEN", "y", {"SMP": "y"}) == (
        "it has no prompt (arch/x86/Kconfig:15); other options or its default decide",
    )
    assert explain(toy, "X86_X2APIC", "y", {"SMP": "y", "IRQ_REMAP": "y"}) == (
        "unmet: depends on 64BIT (arch/x86/Kconfig:6): 64BIT is n",
    )


def test_several_lost_options_are_all_listed(toy: Path) -> None:
    with pytest.raises(BuildError, match="and 1 more did not survive") as caught:
        kconfig.verify(options("CONFIG_NOPE=y\nCONFIG_NR_CPUS=4\n"), {"NR_CPUS": "8"}, toy)
    assert "CONFIG_NOPE (base.config:1)" in (caught.value.detail or "")
    assert "got:   CONFIG_NR_CPUS=8" in (caught.value.detail or "")


# --- reading Kconfig -------------------------------------------------------------------------


def test_help_texts_comments_and_blocks_are_understood(tmp_path: Path) -> None:
    (tmp_path / "Kconfig").write_text(
        """mainmenu "Toy"
# config COMMENTED
menu "A menu" # really
\tdepends on MENU

choice
\tprompt "Pick"
\tdepends on CHOICE
config ONE
\tbool "one # not a comment" if EXPERT
\thelp
\t  depends on NOTHING

\t  config IN_HELP
config TWO
\tbool "two"
endchoice
endmenu
config FREE
\tint "free"
\trange 1 9
source "missing/Kconfig"
comment "Nothing"
\tdepends on COMMENT
"""
    )
    reader = KconfigReader(tmp_path)
    assert set(reader.definitions) == {"ONE", "TWO", "FREE"}
    (one,) = reader.definitions["ONE"]
    assert [clause.text for clause in one.depends] == ["MENU", "CHOICE"]
    assert one.prompt is not None
    assert one.prompt.text == "EXPERT"
    everything = {"MENU": "y", "CHOICE": "y"}
    assert "EXPERT is n" in explain(tmp_path, "ONE", "y", everything)[0]
    assert "one of a choice" in explain(tmp_path, "TWO", "y", everything)[0]
    assert explain(tmp_path, "FREE", "10", everything) == ("its range is 1 9 (Kconfig:19)",)


@given(st.text())
def test_no_kconfig_text_makes_the_reader_fail(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        (tree / "Kconfig").write_text(text, encoding="utf-8", errors="replace")
        explain(tree, "A", "y", {"A": "n"})


NAMES = st.sampled_from(["A", "B", "64BIT", "CC_IS_GCC"])
EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(
    st.builds(Symbol, NAMES)
    | st.builds(
        Compare,
        st.builds(Symbol, NAMES),
        st.sampled_from(["=", "!=", "<", ">="]),
        st.builds(Symbol, st.sampled_from(["y", "n", "4", '"x y"'])),
    ),
    lambda inner: (
        st.builds(Not, inner)
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: Every(tuple(parts)))
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: Either(tuple(parts)))
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_an_expression_survives_being_written_and_read(expression: Expression) -> None:
    read = kconfig_expr.parse(kconfig_expr.spell(expression))
    config = {"A": "y", "B": "n", "64BIT": "4"}
    assert read is not None
    assert kconfig_expr.evaluate(read, config) == kconfig_expr.evaluate(expression, config)


@given(st.text())
def test_no_text_makes_the_expression_parser_fail(text: str) -> None:
    kconfig_expr.parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A", 2),
        ("M && A", 1),
        ("!M", 1),
        ("B || A", 2),
        ("A && !B", 2),
        ("A = y", 2),
        ("NUMBER >= 10 && NUMBER < 0x20", 2),
        ('NAME = "x"', 2),
        ("$(cc-option,-mfoo(bar))", None),
        ("B && $(success,true)", 0),
        ("A && $(success,true)", None),
        ("A || $(success,true)", 2),
        ("ABSENT", 0),
    ],
)
def test_expressions_have_kconfigs_values(text: str, value: int | None) -> None:
    config = {"A": "y", "B": "n", "M": "m", "NUMBER": "12", "NAME": '"x"'}
    expression = kconfig_expr.parse(text)
    assert expression is not None
    assert kconfig_expr.evaluate(expression, config) == value
