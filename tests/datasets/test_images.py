import os
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cbook import get_sample_data
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from genreclf.datasets.base import Track
from genreclf.datasets.images import COLORMAPS, SpectrogramImages, read_levels, with_rows
from genreclf.errors import UnreadableTrack, UserError

Levels = NDArray[np.uint8]


@pytest.fixture
def levels() -> Levels:
    """A spectrogram as drawn, top row first: quiet above, loud below, onsets in between."""
    rng = np.random.default_rng(1)
    slope = np.linspace(0, 200, 128)[:, None] + 55 * (np.arange(200) % 20 < 3) + rng.normal(0, 12, (128, 200))
    return np.rint(slope.clip(0, 255)).astype(np.uint8)


def colored(levels: Levels, colormap: str) -> Levels:
    return np.rint(matplotlib.colormaps[colormap](levels)[..., :3] * 255).astype(np.uint8)


def save(pixels: NDArray[np.generic], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def track_at(path: Path) -> Track:
    return Track(id=path.stem, genre=path.parent.name, path=path)


def test_gray_comes_out_with_the_lowest_frequency_first(tmp_path: Path, levels: Levels) -> None:
    rgb = np.repeat(levels[..., None], 3, axis=2)
    deep = levels.astype(np.uint16) * 257
    palette = Image.fromarray(levels).convert("P")
    palette.save(tmp_path / "p.png")
    transparent = np.concatenate([rgb, np.full((*levels.shape, 1), 128, np.uint8)], axis=2)
    for name, pixels in {"l": levels, "rgb": rgb, "16": deep, "rgba": transparent}.items():
        save(pixels, tmp_path / f"{name}.png")
    for name in ("l", "rgb", "16", "rgba", "p"):
        picture = SpectrogramImages(root=tmp_path).picture(track_at(tmp_path / f"{name}.png"))
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, levels[::-1], err_msg=name)


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_color_maps_are_found_and_inverted_exactly(tmp_path: Path, levels: Levels, colormap: str) -> None:
    drawn = colored(levels, colormap)
    read = colored(read_levels(save(drawn, tmp_path / "rounded.png")), colormap)
    np.testing.assert_array_equal(read, drawn)
    cut_off = matplotlib.colormaps[colormap](levels, bytes=True)
    difference = read_levels(save(cut_off, tmp_path / "cut.png")).astype(int) - levels
    assert np.abs(difference).max() <= 4  # jet has five levels of one color
    assert (difference != 0).mean() < 0.15


def test_a_color_map_can_be_named(tmp_path: Path, levels: Levels) -> None:
    path = save(colored(levels, "magma_r"), tmp_path / "a.png")
    np.testing.assert_array_equal(read_levels(path), 255 - read_levels(path, "magma_r"))
    np.testing.assert_array_equal(read_levels(path, "magma_r"), levels)
    inverted = save(255 - levels, tmp_path / "b.png")
    np.testing.assert_array_equal(read_levels(inverted, "gray_r"), levels)
    with pytest.raises(UnreadableTrack, match="color map viridis"):
        read_levels(path, "viridis")
    with pytest.raises(UserError, match=r"data\.colormap=sepia"):
        SpectrogramImages(root=tmp_path, colormap="sepia")


def test_jpeg_is_read(tmp_path: Path, levels: Levels) -> None:
    smooth = with_rows(levels, 16).repeat(8, axis=0)[:, ::8].repeat(8, axis=1)
    Image.fromarray(colored(smooth, "viridis")).save(tmp_path / "a.jpg", quality=90)
    assert np.abs(read_levels(tmp_path / "a.jpg").astype(int) - smooth).mean() < 3


@pytest.mark.parametrize("colormap", ["viridis", "magma", "jet", "hot", "gray"])
@pytest.mark.parametrize("margins", [(9, 10, 10, 9), (3, 20, 1, 40)])
def test_white_margins_are_cut_off(
    tmp_path: Path, levels: Levels, colormap: str, margins: tuple[int, int, int, int]
) -> None:
    top, bottom, left, right = margins
    pixels = np.pad(colored(levels, colormap), ((top, bottom), (left, right), (0, 0)), constant_values=255)
    np.testing.assert_array_equal(
        colored(read_levels(save(pixels, tmp_path / "a.png")), colormap), colored(levels, colormap)
    )


def test_loud_edges_are_music(tmp_path: Path, levels: Levels) -> None:
    levels[-5:] = 255
    levels[:, :3] = 255
    levels[:20] = 0
    for colormap in ("gray", "hot", "magma"):
        assert read_levels(save(colored(levels, colormap), tmp_path / "a.png")).shape == levels.shape
    assert read_levels(save(colored(levels, "gray_r"), tmp_path / "a.png"), "gray_r").shape == levels.shape


@pytest.mark.parametrize("colormap", ["viridis", "magma"])
def test_a_plot_with_axes_labels_and_color_bar(tmp_path: Path, levels: Levels, colormap: str) -> None:
    figure = Figure(figsize=(8, 5), dpi=100)
    axes = figure.add_axes((0.1, 0.15, 0.7, 0.7))
    image = axes.imshow(levels, cmap=colormap, vmin=0, vmax=255, aspect="auto", interpolation="nearest")
    axes.set(title="blues.00000", xlabel="Time", ylabel="Hz")
    figure.colorbar(image, cax=figure.add_axes((0.85, 0.15, 0.03, 0.7)))
    FigureCanvasAgg(figure).print_png(tmp_path / "a.png")
    read = read_levels(tmp_path / "a.png")
    assert read.shape == (349, 559)  # of 350 x 560, without the frame
    rows = ((np.arange(128) + 0.5) * 350 / 128).astype(int) - 1
    columns = ((np.arange(200) + 0.5) * 560 / 200).astype(int) - 1
    np.testing.assert_allclose(read[rows[1:-1, None], columns[1:-1]], levels[1:-1, 1:-1].astype(int), atol=1)


def test_rows_are_means_over_their_area() -> None:
    column = np.array([[0], [30], [60]], dtype=np.uint8)
    np.testing.assert_array_equal(with_rows(column, 1), [[30]])
    np.testing.assert_array_equal(with_rows(column, 2), [[10], [50]])
    np.testing.assert_array_equal(with_rows(column, 6), column.repeat(2, axis=0))
    np.testing.assert_array_equal(with_rows(column, 3), column)


def test_enlarged_pictures_get_their_rows_back(tmp_path: Path, levels: Levels) -> None:
    path = save(colored(levels.repeat(3, axis=0), "magma"), tmp_path / "a.png")
    source = SpectrogramImages(root=tmp_path)
    np.testing.assert_array_equal(source.picture(track_at(path)), levels[::-1])
    assert SpectrogramImages(root=tmp_path, n_mels=64).picture(track_at(path)).shape == (64, 200)


def test_unusable_files_are_named(tmp_path: Path, levels: Levels) -> None:
    whole = save(colored(levels, "viridis"), tmp_path / "whole.png").read_bytes()
    (tmp_path / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    Image.fromarray(levels).save(tmp_path / "gif.png", format="GIF")
    save(levels[:1, :1], tmp_path / "pixel.png")
    save(np.zeros((128, 50), np.uint8), tmp_path / "constant.png")
    save(np.full((128, 50, 3), 255, np.uint8), tmp_path / "white.png")
    save(np.random.default_rng(0).integers(0, 256, (128, 50, 3), dtype=np.uint8), tmp_path / "noise.png")
    Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).save(tmp_path / "portrait.jpg")
    reasons = {
        "truncated.png": "not readable as a picture",
        "text.png": "not a PNG or JPEG picture",
        "empty.png": "empty file",
        "gif.png": "not a PNG or JPEG picture",
        "folder.png": "a folder",
        "gone.png": "missing",
        "pixel.png": "1 x 1 pixels",
        "constant.png": "every pixel is the same",
        "white.png": "every pixel is the same",
        "noise.png": "not a spectrogram picture of a known color map",
        "portrait.jpg": "not a spectrogram picture of a known color map",
    }
    source = SpectrogramImages(root=tmp_path)
    for name, reason in reasons.items():
        with pytest.raises(UnreadableTrack, match=reason):
            source.picture(track_at(tmp_path / name))


def test_tracks_and_frames_per_second(tmp_path: Path, levels: Levels) -> None:
    for name in ("blues/blues00002.png", "blues/blues.00001.PNG", "jazz/jazz.00054.png", "polka/a.jpg", "polka/b.png"):
        save(levels, tmp_path / "in" / name)
    save(levels[:, :50], tmp_path / "in/polka/b.png")
    (tmp_path / "in/polka/a.jpg").write_text("spoiled")
    (tmp_path / "in/polka/._b.png").touch()
    (tmp_path / "artists.csv").write_text("blues.00002.wav,Muddy\nblues.00001,MUDDY\n")
    source = SpectrogramImages(root=tmp_path / "in", artists=tmp_path / "artists.csv", seconds=10)
    tracks = source.tracks()
    assert [track.id for track in tracks] == ["blues.00001", "blues.00002", "polka/a", "polka/b"]
    assert tracks[0].group == tracks[1].group == "artist: muddy"
    assert len(source.warnings) == 1
    assert "jazz.00054" in source.warnings[0]
    assert source.frames_per_second(tracks) == 20.0
    with pytest.raises(UserError, match="no picture in it can be read"):
        source.frames_per_second(tracks[2:3])


def test_the_fingerprint_covers_what_changes_the_values(tmp_path: Path, levels: Levels) -> None:
    save(levels, tmp_path / "rock/a.png")
    options: list[dict[str, object]] = [{}, {"n_mels": 64}, {"colormap": "gray"}]
    prints = {SpectrogramImages(root=tmp_path, **option).tracks()[0].fingerprint for option in options}
    assert len(prints) == 3
    assert SpectrogramImages(root=tmp_path, seconds=3).tracks()[0].fingerprint in prints


def test_mistakes_name_the_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root is missing"):
        SpectrogramImages().tracks()
    with pytest.raises(UserError, match=r"holds no pictures.*\.png"):
        SpectrogramImages(root=tmp_path).tracks()
    with pytest.raises(UserError, match=r"data\.n_mels=0"):
        SpectrogramImages(root=tmp_path, n_mels=0)
    with pytest.raises(UserError, match=r"data\.seconds=nan"):
        SpectrogramImages(root=tmp_path, seconds=float("nan"))


def real(folder: str) -> Path:
    if "GENRECLF_GTZAN" not in os.environ:
        pytest.skip("GENRECLF_GTZAN is not set to a folder of published GTZAN pictures")
    return Path(os.environ["GENRECLF_GTZAN"]) / folder


def test_published_magma_pictures_hold_the_gray_values() -> None:
    """The gray files are means over area too, but of colors matched to the cut-off map: up to one level higher."""
    gray = SpectrogramImages(root=real("pictures"))
    gray_tracks = {track.id: track for track in gray.tracks()}
    magma = SpectrogramImages(root=real("pictures_magma"))
    tracks = magma.tracks()
    assert len(tracks) == 20
    assert magma.frames_per_second(tracks) == gray.frames_per_second(list(gray_tracks.values())) == 12.9
    for track in tracks:
        difference = magma.picture(track).astype(int) - gray.picture(gray_tracks[track.id])
        assert np.abs(difference).max() <= 1
        colors = np.asarray(Image.open(track.path).convert("RGB"))
        np.testing.assert_array_equal(colored(read_levels(track.path), "magma"), colors)


def test_published_plots_with_margins() -> None:
    source = SpectrogramImages(root=real("pictures_margins_viridis"))
    tracks = source.tracks()
    assert len(tracks) == 10
    assert source.frames_per_second(tracks) == 496 / 30
    for track in tracks:
        levels = read_levels(track.path)
        assert levels.shape == (370, 496)
        colors = np.asarray(Image.open(track.path).convert("RGB"))[9:379, 10:506]
        np.testing.assert_array_equal(colored(levels, "viridis"), colors)
        assert source.picture(track).shape == (128, 496)
