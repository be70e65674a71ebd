"""The table of benchmarks/leak.py."""

import pytest

from benchmarks import leak


@pytest.mark.slow
def test_both_splits_have_the_same_segments_and_both_models_a_row(
    tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shared = [each for each in tiny if not each.startswith(("model", "logger", "trainer.max", "data.grid"))]
    # All five tracks of a genre have the last subsets by one each.
    leak.main([*shared, "split.train=0.6", "split.val=0.2", "split.test=0.2"])
    table = capsys.readouterr().out.partition("---: |\n")[2]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert [(row[0].partition(",")[0], row[1]) for row in cells] == [
        *(
            ("nearest neighbor", "chunk, LEAKY"),
            ("SVM", "chunk, LEAKY"),
            ("nearest neighbor", "track"),
            ("SVM", "track"),
        )
    ]
    assert {row[2] for row in cells} == {"20"}
    assert all(float(row[3]) > 10 and "to" in row[5] for row in cells)
