import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thorax.datasets.sources import read_folder
from thorax.datasets.table import read_sample_table, write_table
from thorax.errors import DataError
from thorax.findings import find_finding


@pytest.fixture
def table(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "labels.csv").write_text("path,Mass,Nodule\na.png,1,0\n")
    return read_folder(tmp_path / "labels.csv").table


def test_a_table_is_read_as_it_was_written(tmp_path, table):
    write_table(table, tmp_path / "table.parquet")
    again = read_sample_table(tmp_path / "table.parquet")
    assert again.findings == table.findings
    pd.testing.assert_frame_equal(again.frame, table.frame, check_dtype=False, check_like=True)


def test_a_finding_without_a_column_is_named(table):
    message = r"^finding Hernia is not labeled in this data set \(it has Mass, Nodule\)"
    with pytest.raises(DataError, match=message):
        table.targets((find_finding("Hernia"),))


def test_files_that_are_no_sample_table_are_named(tmp_path):
    path = tmp_path / "table.parquet"
    with pytest.raises(DataError, match=r"table\.parquet cannot be read as a sample table"):
        read_sample_table(path)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"table\.parquet cannot be read as a sample table"):
        read_sample_table(path)
    pq.write_table(pa.table({"image": ["a.png"], "Mass": pa.array([1], pa.int8())}), path)
    with pytest.raises(DataError, match=r"table\.parquet has no column 'path', so it is not a sample table"):
        read_sample_table(path)
