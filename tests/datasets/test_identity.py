import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from genreclf.datasets.identity import (
    KNOWN_REPEATS,
    artist_of,
    credited,
    credited_parts,
    groups,
    gtzan_id,
    read_artists,
    track_id,
)
from genreclf.errors import UserError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blues.00002.wav", "blues.00002"),
        ("blues.00002.au", "blues.00002"),
        ("blues00002.png", "blues.00002"),
        ("Blues.00002.WAV", "blues.00002"),
        ("blues.00002", "blues.00002"),
        ("blues.0002.wav", None),
        ("blues.000021.wav", None),
        ("polka.00002.wav", None),
        ("my blues.00002.wav", None),
        ("._blues.00002.wav", None),
    ],
)
def test_gtzan_ids(name: str, expected: str | None) -> None:
    assert gtzan_id(name) == expected


def test_track_ids_need_name_and_folder_to_agree() -> None:
    assert track_id("blues", "blues00002.png") == "blues.00002"
    assert track_id("jazz", "blues.00002.wav") == "jazz/blues.00002"
    assert track_id("polka", "Mr. Brown.MP3") == "polka/Mr. Brown"
    assert track_id("polka", "Mr. Brown") == "polka/Mr. Brown"


def test_sturms_index(tmp_path: Path) -> None:
    index = tmp_path / "index.txt"
    index.write_text(
        "## an index of “GTZAN”\n\nblues.00000.wav ::: John Lee Hooker ::: One Bourbon\n"
        "jazz.00054.wav ::: :::\ncountry.00002.wav ::: ::: I Wish\npop00003.wav ::: Björk ::: Hunter ::: live\n"
    )
    assert read_artists(index) == {"blues.00000": "John Lee Hooker", "pop.00003": "Björk"}


@pytest.mark.parametrize("header", ["track_id,artist\n", "Track_ID, Artist\n", ""])
def test_csv_of_artists(tmp_path: Path, header: str) -> None:
    file = tmp_path / "artists.csv"
    file.write_text(header + 'polka/one.mp3,"Earth, Wind & Fire"\nsolo.wav,Cher\nblues.00001,  Muddy\npolka/two,\n')
    artists = read_artists(file)
    assert artists == {"polka/one": "Earth, Wind & Fire", "solo": "Cher", "blues.00001": "Muddy"}
    assert artist_of("polka/one", artists) == "Earth, Wind & Fire"
    assert artist_of("rock/solo", artists) == "Cher"
    assert artist_of("polka/two", artists) is None


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_may_be_written_apart(tmp_path: Path, form: Literal["NFC", "NFD"]) -> None:
    (tmp_path / "a.csv").write_text(unicodedata.normalize(form, "chanson/été,Cher\nété.mp3,Brel\n"))
    artists = read_artists(tmp_path / "a.csv")
    for other in ("NFC", "NFD"):
        assert artist_of(unicodedata.normalize(other, "chanson/été"), artists) == "Cher"
        assert artist_of(unicodedata.normalize(other, "rock/été"), artists) == "Brel"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_text("x,Björk\n", encoding=encoding)
    assert read_artists(tmp_path / "a.csv") == {"x": "Björk"}


def test_lines_end_where_editors_end_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("x,Mother… Love\r\ny,Björk\rz,Ann".encode("cp1252"))
    assert read_artists(tmp_path / "a.csv") == {"x": "Mother\x85 Love", "y": "Björk", "z": "Ann"}


@pytest.mark.parametrize("line", ["just words", "a,b,c", ",nobody", '"open,artist', "::: x ::: y"])
def test_a_line_of_no_form_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.csv").write_text(f"x,Cher\n# note\n{line}\n")
    with pytest.raises(UserError, match=r"a\.csv, line 3"):
        read_artists(tmp_path / "a.csv")


def test_a_track_of_two_artists_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,Cher\nx.wav,CHER \nx,Björk\n")
    with pytest.raises(UserError, match=r"line 3.*Cher.*Björk"):
        read_artists(tmp_path / "a.csv")


def test_a_missing_file_names_the_key(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.csv", tmp_path):
        with pytest.raises(UserError, match=r"data\.artists="):
            read_artists(path)


def test_groups_join_artists_and_repeats() -> None:
    group = groups(
        {
            "metal.00058": "Queen",
            "rock.00016": "Queens",
            "rock.00017": " QUEEN",
            "pop.00001": None,
            "pop.00054": None,
            "pop.00060": None,
            "reggae.00081": "Ini Kamoze",
            "reggae.00082": None,
            "disco.00098": None,
            "polka/a": "  ",
        }
    )
    assert group["metal.00058"] == group["rock.00016"] == group["rock.00017"] == "artist: queen + queens"
    assert group["pop.00054"] == group["pop.00060"] == "pop.00054"
    assert group["reggae.00081"] == group["reggae.00082"] == "artist: ini kamoze"
    assert (group["pop.00001"], group["disco.00098"], group["polka/a"]) == ("pop.00001", "disco.00098", "polka/a")
    assert len(set(group.values())) == 6


@pytest.mark.parametrize(
    "joint", ["Ann & Bob", "Ann feat. Bob", "Ann featuring Bob", "Ann ft Bob", "Ann vs. Bob", "Ann/Bob"]
)
def test_joint_credits_name_each_artist(joint: str) -> None:
    assert credited_parts(joint)[1:] == ("ann", "bob")


@pytest.mark.parametrize("name", ["Feather", "Ftampa", "Vsevolod", "Android", "Withers"])
def test_names_that_begin_like_a_joint_credit_are_one_artist(name: str) -> None:
    assert credited_parts(name) == (name.casefold(),)


def test_joint_credits_count_for_each_artist() -> None:
    assert credited(" Lauryn Hill; BOB Marley ;; bob marley") == ("lauryn hill", "bob marley")
    assert credited(None) == credited(" ; ") == ()
    group = groups(
        {
            "reggae.00000": "Bob Marley",
            "reggae.00087": "Lauryn Hill; Bob Marley",
            "hiphop.00001": "Lauryn Hill",
            "reggae.00093": "Peter Tosh; Mick Jagger",
            "reggae.00001": "peter tosh",
            "rock.00001": "Prince",
        }
    )
    assert group["reggae.00000"] == group["reggae.00087"] == group["hiphop.00001"]
    assert group["reggae.00093"] == group["reggae.00001"] == "artist: mick jagger + peter tosh"
    assert len(set(group.values())) == 3


def test_known_repeats_hold_every_pair_of_identical_tracks() -> None:
    sets = [set(repeats) for repeats in KNOWN_REPEATS]
    identical = [("disco.00098", "disco.00099"), ("hiphop.00039", "hiphop.00045"), ("hiphop.00076", "hiphop.00078")]
    identical += [("metal.00034", "metal.00094"), ("metal.00058", "rock.00016"), ("pop.00054", "pop.00060")]
    identical += [("pop.00067", "pop.00071"), ("reggae.00081", "reggae.00082")]
    identical += [(f"metal.{40 + k:05d}", f"metal.{61 + k:05d}") for k in range(6)]
    assert all(any({*pair} <= repeats for repeats in sets) for pair in identical)
    assert sum(map(len, sets)) == len(set.union(*sets))
    assert all(gtzan_id(track) == track for repeats in sets for track in repeats)
