"""``condense``: boilerplate and repeated passages go at ingestion, and nothing else does."""

from __future__ import annotations

import pytest

from costkit.context import Document, condense
from costkit.errors import ConfigurationError
from costkit.testing import WordCounter

RULE = (
    "Unused annual leave can be carried over into the next year up to a limit of five days, and it lapses on 31 March "
    "unless the head of the department has agreed in writing."
)
BODIES = ("Refunds are paid within 14 days.", "Parcels are shipped on Monday.", "Cats sleep all day.", "Dogs bark.")


def pages(*bodies: str, header: str = "Acme Handbook\nHome | Products | Contact", footer: str = "") -> list[Document]:
    return [
        Document(
            id=f"p{at}", text=f"{header}\n\n{body}\n\n{footer}Page {at + 1} of {len(bodies)}\n", title=f"Chapter {at}"
        )
        for at, body in enumerate(bodies)
    ]


def test_headers_navigation_and_page_numbers_stay_on_the_first_page_alone() -> None:
    given = pages(*BODIES)

    left = condense(given)

    assert left.decision == "static"
    assert left.texts()["p0"] == f"Acme Handbook\nHome | Products | Contact\n\n{BODIES[0]}"
    assert [left.texts()[f"p{at}"] for at in (1, 2, 3)] == list(BODIES[1:])
    assert {one.reason for one in left.dropped} == {"boilerplate"}
    assert left.tokens_after < left.tokens_before


def test_offsets_are_exact() -> None:
    given = pages(*BODIES, f"{RULE}\n\nOne more.", footer="All prices exclude VAT.\n")
    texts = {one.id: one.text for one in given}

    left = condense(given)

    for span in (*left.kept, *left.dropped):
        assert 0 <= span.start < span.end <= len(texts[span.document_id])
    for span in left.kept:
        assert texts[span.document_id][span.start : span.end] == span.text


def test_what_only_a_footer_says_is_still_said_once() -> None:
    left = condense(pages(*BODIES, footer="All prices exclude VAT.\n"))

    assert sum("All prices exclude VAT." in text for text in left.texts().values()) == 1


def test_a_line_that_only_some_documents_have_is_a_fact() -> None:
    given = [
        Document(id=str(at), text=f"{body}\n\nStatus: {'active' if at < 3 else 'closed'}")
        for at, body in enumerate(BODIES)
    ]

    assert condense(given).dropped == ()


def test_a_repeated_line_in_the_midst_of_a_text_stays() -> None:
    given = [Document(id=str(at), text=f"{body}\n\nSee below.\n\n{body} Again.") for at, body in enumerate(BODIES)]

    assert condense(given).dropped == ()


def test_a_repeated_passage_is_kept_once_and_cites_the_other_places() -> None:
    given = [
        Document(id="a", text=f"First.\n\n{RULE}", title="Leave"),
        Document(id="b", text=f"Second.\n\n{RULE}\n\nThird.", title="Leave"),
        Document(id="c", text=RULE.replace(" and ", "\nand "), title="Leave"),
    ]

    left = condense(given)

    assert left.texts() == {"a": f"First.\n\n{RULE}", "b": "Second.\nThird."}
    (span,) = (span for span in left.kept if span.text == RULE)
    assert [place.document_id for place in span.also_in] == ["b", "c"]
    texts = {one.id: one.text for one in given}
    for place in span.also_in:
        assert texts[place.document_id][place.start : place.end].split() == RULE.split()


def test_passages_of_different_titles_or_with_one_other_number_are_no_duplicates() -> None:
    given = [
        Document(id="a", text=RULE, title="Berlin"),
        Document(id="b", text=RULE, title="Paris"),
        Document(id="c", text=RULE.replace("five", "six"), title="Berlin"),
    ]

    assert condense(given).dropped == ()


def test_documents_without_repeats_come_back_byte_for_byte() -> None:
    given = [Document(id=str(at), text=f"  {body}\r\n\t") for at, body in enumerate(BODIES)]

    left = condense(given, counter=WordCounter())

    assert left.texts() == {one.id: one.text for one in given}
    assert (left.decision, left.saved_tokens) == ("kept", 0)


def test_it_is_the_same_every_time_and_a_second_time_changes_nothing() -> None:
    given = pages(*BODIES, RULE, RULE)

    once = condense(given)
    again = condense([Document(id=one.document_id, text=one.text, title=one.title) for one in once.passages])

    assert condense(given).passages == once.passages
    assert again.texts() == once.texts()


def test_no_documents_and_wrong_documents() -> None:
    assert condense([]).passages == ()
    with pytest.raises(ConfigurationError, match="'a'"):
        condense([Document(id="a", text="x"), Document(id="a", text="y")])
