"""Golden files of other tools are read into one golden set, and bad ones say what to do."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from costkit.errors import ConfigurationError, DataError
from costkit_evals.golden import GoldenSet, Supporting
from costkit_evals.golden_formats import load_any

PARIS = "Paris is the capital of France."
ROME = "Rome is the capital of Italy."

RAGAS_2 = [
    {
        "user_input": "What is the capital of France?",
        "reference": "Paris",
        "reference_contexts": [PARIS],
        "reference_context_ids": ["france"],
        "retrieved_contexts": [PARIS, ROME],
        "synthesizer_name": "single_hop",
    },
    {"user_input": "And of Italy?", "reference": "Rome", "reference_contexts": [ROME, PARIS]},
]
RAGAS_1 = [
    {
        "question": "What is the capital of France?",
        "contexts": [PARIS, ROME],
        "ground_truth": "Paris",
        "answer": "Rome",
    },
    {"question": "And of Italy?", "contexts": [ROME], "ground_truths": ["Rome", "Roma"]},
]
LANGSMITH = [
    {
        "id": "e1",
        "inputs": {"question": "What is the capital of France?"},
        "outputs": {"answer": "Paris", "contexts": [PARIS]},
        "metadata": {"dataset_split": "dev"},
    },
    {"id": "e2", "inputs": {"text": "And of Italy?"}, "outputs": {"result": "Rome"}, "metadata": {"contexts": ROME}},
]
LLAMAINDEX = {
    "examples": [
        {
            "query": "What is the capital of France?",
            "query_by": {"model_name": "m", "type": "ai"},
            "reference_contexts": [PARIS],
            "reference_answer": "Paris",
        },
        {"query": "And of Italy?", "reference_contexts": [ROME], "reference_answer": "Rome"},
    ]
}
INSPECT = [
    {"id": 1, "input": "What is the capital of France?", "target": "Paris", "metadata": {"context": PARIS}},
    {
        "id": 2,
        "input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "And of Italy?"}],
        "target": ["Rome", "Roma"],
        "metadata": {"context": ROME},
    },
]
DEEPEVAL = [
    {
        "input": "What is the capital of France?",
        "expectedOutput": "Paris",
        "context": [PARIS],
        "retrievalContext": [ROME],
        "actualOutput": "Rome",
    },
    {"input": "And of Italy?", "expected_output": "Rome", "context": [ROME]},
]
PROMPTFOO_YAML = f"""
prompts: ['Answer from {{{{context}}}}: {{{{question}}}}']
tests:
  - vars: {{question: "What is the capital of France?", context: {PARIS}}}
    assert:
      - {{type: llm-rubric, value: is polite}}
      - {{type: equals, value: Paris}}
  - vars: {{question: "And of Italy?", context: {ROME}}}
    assert: [{{type: icontains-all, value: [Rome, Italy]}}, {{type: latency, threshold: 9}}]
"""
PROMPTFOO_CSV = f"""question,context,__expected1,__expected2
What is the capital of France?,{PARIS},similar(0.8): Paris,llm-rubric: is polite
And of Italy?,{ROME},contains: Rome,
"""


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    if name.removesuffix(".gz").endswith(".jsonl"):
        assert isinstance(content, list)
        text = "\n".join(json.dumps(row) for row in content)
    else:
        text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def gold_texts(golden: GoldenSet, at: int) -> list[str]:
    texts = {document.id: document.text for document in golden.corpus}
    return [texts[name] for name in golden.questions[at].gold_ids]


@pytest.mark.parametrize(
    ("name", "content", "shape"),
    [
        ("set.json", RAGAS_2, "ragas:"),
        ("set.jsonl", RAGAS_2, "ragas:"),
        ("set.jsonl.gz", RAGAS_2, "ragas:"),
        ("set.json", RAGAS_1, "ragas (names of version 1):"),
        ("set.json", LANGSMITH, "LangSmith:"),
        ("set.json", {"examples": LANGSMITH}, "LangSmith:"),
        ("set.json", LLAMAINDEX, "LlamaIndex LabelledRagDataset:"),
        ("set.jsonl", INSPECT, "Inspect samples:"),
        ("set.json", DEEPEVAL, "DeepEval goldens:"),
        ("set.json", {"goldens": DEEPEVAL}, "DeepEval goldens:"),
        ("set.yaml", PROMPTFOO_YAML, "promptfoo:"),
        ("set.yml.gz", PROMPTFOO_YAML, "promptfoo:"),
        ("set.csv", PROMPTFOO_CSV, "promptfoo:"),
    ],
)
def test_each_shape_is_recognised_and_read(tmp_path: Path, name: str, content: object, shape: str) -> None:
    golden, how = load_any(write(tmp_path, name, content))
    assert how.startswith(shape)
    assert "question=" in how
    assert golden.name == "set"
    assert [one.question for one in golden.questions] == ["What is the capital of France?", "And of Italy?"]
    assert golden.questions[0].answers == ("Paris",)
    assert golden.questions[1].answers[0].startswith("Rome")
    assert {document.text for document in golden.corpus} == {PARIS, ROME}
    assert len({document.id for document in golden.corpus}) == 2


def test_reference_contexts_are_gold_and_retrieved_ones_only_join_the_corpus(tmp_path: Path) -> None:
    golden, _ = load_any(write(tmp_path, "set.json", RAGAS_2))
    assert golden.questions[0].gold_ids == ("france",)
    assert gold_texts(golden, 1) == [ROME, PARIS]
    assert golden.questions[0].kind == "single_hop"
    first, _ = load_any(write(tmp_path, "old.json", RAGAS_1))
    assert first.questions[0].gold_ids == ()
    assert first.questions[1].answers == ("Rome", "Roma")


def test_ids_follow_from_the_text_so_that_two_runs_agree(tmp_path: Path) -> None:
    one, _ = load_any(write(tmp_path, "set.json", LLAMAINDEX))
    other, _ = load_any(write(tmp_path, "set.json", {"examples": LLAMAINDEX["examples"][::-1]}))
    assert {document.id for document in one.corpus} == {document.id for document in other.corpus}
    assert [question.id for question in one.questions] == ["q1", "q2"]


def test_splits_and_ids_are_kept(tmp_path: Path) -> None:
    golden, _ = load_any(write(tmp_path, "set.json", LANGSMITH))
    assert [(one.id, one.split) for one in golden.questions] == [("e1", "dev"), ("e2", "")]


def test_a_csv_cell_may_hold_a_list_as_pandas_prints_it(tmp_path: Path) -> None:
    content = f"user_input,reference,reference_contexts\nCapital?,Paris,\"['{PARIS}', '{ROME}']\"\n"
    golden, _ = load_any(write(tmp_path, "set.csv", content))
    assert gold_texts(golden, 0) == [PARIS, ROME]


def test_a_mapping_overrides_and_reaches_into_objects(tmp_path: Path) -> None:
    rows = [{"ask": {"text": "Capital?"}, "truth": "Paris", "passages": PARIS, "topic": "geography"}]
    golden, how = load_any(
        write(tmp_path, "set.json", rows),
        mapping={"question": "ask.text", "answer": "truth", "contexts": "passages", "kind": "topic"},
    )
    assert how == "mapped by hand: question=ask.text, answer=truth, contexts=passages, kind=topic"
    assert (golden.questions[0].question, golden.questions[0].kind) == ("Capital?", "geography")
    assert gold_texts(golden, 0) == [PARIS]


def test_unanswerable_rows_are_marked(tmp_path: Path) -> None:
    rows = [*INSPECT, {"id": 3, "input": "And of Atlantis?", "target": "", "metadata": {"answerable": False}}]
    golden, _ = load_any(write(tmp_path, "set.json", rows))
    assert [one.answerable for one in golden.questions] == [True, True, False]
    assert golden.questions[2].answers == ()


def test_passages_are_found_in_a_given_corpus(tmp_path: Path) -> None:
    text = f"# Countries\n\n{ROME} {PARIS}"
    corpus = write(tmp_path, "corpus.jsonl.gz", [{"id": "countries", "text": text, "title": "Countries"}])
    golden, _ = load_any(write(tmp_path, "set.json", LLAMAINDEX), corpus=corpus)
    start = text.index(PARIS)
    assert golden.questions[0].supporting == (Supporting(doc_id="countries", start=start, end=start + len(PARIS)),)
    assert golden.questions[0].gold_ids == ("countries",)
    assert [document.title for document in golden.corpus] == ["Countries"]


def test_a_file_without_contexts_takes_a_corpus(tmp_path: Path) -> None:
    path = write(tmp_path, "set.json", [{"input": "Capital?", "target": "Paris"}])
    with pytest.raises(DataError, match="no row carries a context; name the documents with --corpus FILE"):
        load_any(path)
    golden, _ = load_any(path, corpus=write(tmp_path, "docs.json", [{"id": 7, "text": PARIS}]))
    assert (golden.corpus[0].id, golden.questions[0].gold_ids) == ("7", ())


def test_a_folder_is_a_golden_set_of_our_own(tmp_path: Path) -> None:
    write(tmp_path, "corpus.jsonl", [{"id": "d", "text": PARIS}])
    write(tmp_path, "questions.jsonl", [{"id": "q", "question": "Capital?", "answers": ["Paris"], "gold_ids": ["d"]}])
    golden, how = load_any(tmp_path)
    assert golden.questions[0].gold_ids == ("d",)
    assert how.startswith("golden set")
    with pytest.raises(ConfigurationError, match="neither a mapping nor a corpus"):
        load_any(tmp_path, mapping={"question": "q"})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("set.parquet", "x", r"unknown file type '.parquet'; use one of .jsonl"),
        ("set.json", "[{", r"set.json:1: not JSON"),
        ("set.jsonl", [1], r"set.jsonl:1: an object was expected, got '1'"),
        ("set.json", [], "holds no rows"),
        ("set.json", "3", "a list of rows was expected, got '3'"),
        ("set.json", {"stuff": []}, r"got keys \['stuff'\]"),
        ("set.json", ["a"], "row 1: an object was expected, got 'a'"),
        ("set.yaml", "a: [", "not YAML"),
        ("set.csv", "user_input,reference\na,b,c\n", r"set.csv:2: the line has another number of cells"),
        ("set.csv", 'user_input,reference\n"a,b\n', "not CSV"),
        ("set.json", [{"foo": 1}], r"unknown format with keys \['foo'\]; name them with --map question=KEY"),
        ("set.json", [{"user_input": "", "reference": "Paris"}], "row 1: no question under 'user_input'"),
        ("set.json", [{"user_input": "Capital?", "reference_contexts": [PARIS]}], "row 1: no answer under"),
        ("set.json", [{**RAGAS_2[0], "reference_contexts": 3.5}], "must be a list of strings, got '3.5'"),
        ("set.json", [{**RAGAS_2[0], "reference_context_ids": ["a", "b"]}], "2 context ids for 1 contexts"),
        (
            "set.json",
            [RAGAS_2[0], {**RAGAS_2[0], "reference_contexts": ["Other."]}],
            "row 2: context id 'france' stands for two different texts",
        ),
        (
            "set.json",
            [{"user_input": "Capital?", "reference": "Paris", "reference_context_ids": ["a"]}],
            "come without texts; name the documents with --corpus",
        ),
        ("set.json", [LANGSMITH[0], LANGSMITH[0]], "row 2: id 'e1' stands there twice"),
    ],
)
def test_a_bad_file_says_what_is_wrong_and_what_to_do(tmp_path: Path, name: str, content: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_any(write(tmp_path, name, content))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("set.json", b'[{"user_input": "caf\xe9"}]', "not UTF-8 at byte 20: save the file as UTF-8"),
        ("set.json.gz", b"plain", "cannot be read"),
    ],
)
def test_bad_bytes_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_any(tmp_path / name)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([{"id": "a"}], "a document needs 'id' and 'text'"),
        ([{"id": "a", "text": PARIS}, {"id": "a", "text": ROME}], "document id 'a' stands there twice"),
        ([{"id": "a", "text": "Paris."}], "stands in no document of the corpus"),
    ],
)
def test_a_bad_corpus_is_named(tmp_path: Path, documents: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_any(write(tmp_path, "set.json", LLAMAINDEX), corpus=write(tmp_path, "docs.jsonl", documents))


def test_ids_that_the_corpus_has_lost_are_named(tmp_path: Path) -> None:
    corpus = write(tmp_path, "docs.jsonl", [{"id": "a", "text": PARIS}])
    with pytest.raises(DataError, match="context id 'france' is no document of the corpus; was the corpus cut anew"):
        load_any(write(tmp_path, "set.json", RAGAS_2), corpus=corpus)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: no such file or folder"):
        load_any(tmp_path / "none.json")


def test_a_wrong_mapping_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "set.json", RAGAS_2)
    with pytest.raises(ConfigurationError, match="mapping names field 'qestion'; choose from id, question"):
        load_any(path, mapping={"qestion": "user_input"})
    with pytest.raises(DataError, match="no row has the key 'ask' that field 'question' is mapped to"):
        load_any(path, mapping={"question": "ask"})
