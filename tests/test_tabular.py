"""CSV files with a column of images, however they are written."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thorax.errors import DataError
from thorax.tabular import IMAGE_COLUMNS, find_column, open_text, read_table


def written(folder, text, name="table.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode(encoding)) if name.endswith(".gz") else text.encode(encoding))
    return path


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_gzip_byte_order_mark_and_line_ends_do_not_matter(tmp_path, name, mark, end):
    lines = [" Image Index ,Edema", "a.png,1", "", '"b, c.png",0', ""]
    table = read_table(written(tmp_path, mark + end.join(lines), name))
    assert table.header == ("Image Index", "Edema")
    assert table.rows == (("a.png", "1"), ("b, c.png", "0"))
    assert table.lines == (2, 4)
    assert table.column(table.image_column) == ("a.png", "b, c.png")


def test_a_field_may_hold_a_line_end_and_lines_are_still_counted(tmp_path):
    table = read_table(written(tmp_path, 'image,note\na.png,"two\nlines"\nb.png,one\n'))
    assert table.column(1) == ("two\nlines", "one")
    assert table.lines == (3, 4)


@pytest.mark.parametrize(
    "header", ["Image Index", "image_index", "IMAGE-INDEX", "Image", "path", "File Name", "image id", "img"]
)
def test_the_column_of_images_has_many_names(tmp_path, header):
    table = read_table(written(tmp_path, f"age,{header},x\n1,a.png,2\n"))
    assert table.column(table.image_column) == ("a.png",)


def test_the_likeliest_column_of_images_is_taken_wherever_it_is():
    assert find_column(["file", "path", "Image Index"], IMAGE_COLUMNS) == 2
    assert find_column(["img", "path"], IMAGE_COLUMNS) == 1
    assert find_column(["images", "picture", ""], IMAGE_COLUMNS) is None
    assert find_column([], IMAGE_COLUMNS) is None


@given(st.lists(st.text(max_size=12), max_size=6))
def test_no_header_breaks_the_search(header):
    column = find_column(header, IMAGE_COLUMNS)
    assert column is None or header[column].replace(" ", "").replace("_", "").replace("-", "").casefold() in (
        IMAGE_COLUMNS
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"table\.csv has no rows; give a CSV with a header"),
        ("image,Edema\n", "has no rows"),
        (
            "image,Edema\na,1\n\nb,1,2\n",
            r"table\.csv, line 4: 3 fields, but the header has 2; write it again",
        ),
        ("image,Edema\na\n", "line 2: 1 fields, but the header has 2"),
    ],
)
def test_a_table_that_is_not_whole_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_table(written(tmp_path, text))


def test_rows_of_other_lengths_are_filled_and_cut_where_that_is_wanted(tmp_path):
    table = read_table(written(tmp_path, "image,Edema\na\nb,1,2\n"), fill=True)
    assert table.rows == (("a", ""), ("b", "1"))


def test_without_a_column_of_images_the_message_has_the_header(tmp_path):
    table = read_table(written(tmp_path, "Age,Sex\n1,F\n"))
    with pytest.raises(
        DataError, match=r"has no column of images \(it has Age, Sex\); call it 'Image Index'"
    ):
        _ = table.image_column


@pytest.mark.parametrize("name", ["bytes.csv", "folder.csv", "cut.csv.gz"])
def test_what_cannot_be_read_is_one_error(tmp_path, name):
    (tmp_path / "bytes.csv").write_bytes(b"image\n\xff\xfe\0\n")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"image\na.png\n" * 99)[:-9])
    with pytest.raises(DataError, match=rf"{name} cannot be read as a list \(.*\); do this"):
        read_table(tmp_path / name, what="a list", remedy="do this")
    with (
        pytest.raises(DataError, match="cannot be read as a text"),
        open_text(tmp_path / name, what="a text", remedy="do that") as file,
    ):
        file.read()


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "utf-16", "utf-8-sig"])
def test_separators_and_encodings_do_not_matter(tmp_path, separator, encoding):
    lines = [["image", "Größe, in cm"], ["Ä.png", "1"]]
    text = "\n" + "\n".join(separator.join(f'"{field}"' for field in line) for line in lines)
    table = read_table(written(tmp_path, text, encoding=encoding))
    assert (table.header, table.rows) == (("image", "Größe, in cm"), (("Ä.png", "1"),))
    assert (table.lines, table.separator) == ((3,), separator)


def test_every_byte_that_is_not_utf_8_is_a_letter(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"image\n" + bytes(range(0x80, 0x100)) + b"\n")
    ((name,),) = read_table(tmp_path / "x.csv").rows
    assert name == bytes(range(0x80, 0x100)).decode("cp1252", "replace")


@pytest.mark.parametrize(
    ("name", "packed"), [("x.csv", True), ("x.csv.gz", False)], ids=["gzipped-csv", "plain-gz"]
)
def test_what_is_gzipped_is_seen_in_the_file(tmp_path, name, packed):
    text = b"image\na.png\n"
    (tmp_path / name).write_bytes(gzip.compress(text) if packed else text)
    assert read_table(tmp_path / name).rows == (("a.png",),)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "a PNG image and cannot be read as CSV; give another file"),
        (b"\xff\xd8\xff\xe0", "a JPEG image"),
        (b"\0" * 128 + b"DICM", "a DICOM file"),
        (
            b"PK\x03\x04",
            "an Excel workbook or another ZIP file and cannot be read as CSV; save it as CSV first",
        ),
        (b"PAR1", "a Parquet file"),
        (b"\n<!DOCTYPE html>", "a web page or XML"),
        (b'\xef\xbb\xbf{"format": 1}', "JSON and cannot be read as CSV; give a CSV"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, start, kind):
    (tmp_path / "x.csv").write_bytes(start)
    with pytest.raises(DataError, match=rf"x\.csv is {kind}"):
        read_table(tmp_path / "x.csv")


def test_a_missing_file_is_called_missing(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist; correct the path"):
        read_table(tmp_path / "nowhere.csv")


def test_decimal_commas_where_commas_do_not_separate(tmp_path):
    table = read_table(written(tmp_path, "image;Mass\na;0,53\n"))
    assert table.number(table.rows[0][1]) == 0.53
    comma = read_table(written(tmp_path, 'image,Mass\na,"0,53"\n'))
    assert comma.number(comma.rows[0][1]) != comma.number("0.53") == 0.53
