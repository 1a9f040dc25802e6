"""Occlusion and RISE find the part of a picture that decides, whatever the picture's form."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from games import Counted
from PIL import Image

from modeltap.explain.answer import heat_rows
from modeltap.explain.occlusion import occlude, window_places, window_rows
from modeltap.explain.overlay import overlay_png
from modeltap.explain.picture import PicturePlayers
from modeltap.explain.rise import draw_masks, rise
from modeltap.explain.steps import Target, drive

PATCH = (slice(4, 8), slice(10, 14))


def picture(shape=(16, 20), dtype=np.uint8):
    pixels = np.random.default_rng(0).integers(0, 40, size=shape).astype(dtype)
    pixels[PATCH] = 200
    return pixels


def bright_patch(batch):
    """How bright the patch is, from 0 to 1."""
    x = batch["x"].astype(np.float64)
    return {"y": x[:, *PATCH].reshape(len(x), -1).mean(axis=1) / 255}


def heat_of(method, pixels, rows=600):
    players, run = PicturePlayers("x", pixels), Counted(bright_patch)
    answer = float(bright_patch({"x": pixels[None]})["y"][0])
    if method == "rise":
        heat = drive(rise(players, Target("y"), masks=rows, seed=0), run)
        assert run.rows == rows
    else:
        heat = drive(occlude(players, Target("y"), answer=answer, rows=rows), run)
        assert run.rows == window_rows(*pixels.shape[:2], rows=rows)
    return heat


@pytest.mark.parametrize("method", ["occlusion", "rise"])
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((16, 20), np.uint8), ((16, 20, 1), np.uint8), ((16, 20, 3), np.uint8), ((16, 20), np.float32)],
)
def test_the_part_that_decides_is_found(method, shape, dtype):
    heat = heat_of(method, picture(shape, dtype))
    assert heat.shape == (16, 20)
    inside = np.zeros((16, 20), dtype=bool)
    inside[PATCH] = True
    assert heat[inside].mean() > 3 * np.abs(heat[~inside]).mean()
    top, left = np.unravel_index(heat.argmax(), heat.shape)
    assert inside[top, left]


@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_the_same_picture_gives_the_same_heat(method):
    assert heat_of(method, picture()).tobytes() == heat_of(method, picture()).tobytes()


def test_what_is_taken_away_has_the_most_common_brightness_of_its_picture():
    players = PicturePlayers("x", picture((16, 20, 3)))
    nothing = players.rows(np.zeros((1, 320)), np.zeros(1, dtype=np.int64))["x"][0]
    assert nothing.dtype == np.uint8
    assert np.abs(nothing.reshape(-1, 3) - np.median(picture((16, 20, 3)).reshape(-1, 3), axis=0)).max() <= 0.5
    whole = players.rows(np.ones((1, 320)), np.zeros(1, dtype=np.int64))["x"][0]
    np.testing.assert_array_equal(whole, picture((16, 20, 3)))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (28, 28), (30, 7), (224, 200)])
@pytest.mark.parametrize("rows", [1, 100, 5000])
def test_windows_cover_every_pixel_however_few_they_are(size, rows):
    side, tops, lefts = window_places(*size, rows=rows)
    for starts, extent in ((tops, size[0]), (lefts, size[1])):
        covered = np.zeros(extent, dtype=bool)
        for start in starts.tolist():
            covered[max(0, start) : start + side] = True
        assert covered.all()


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (28, 30)])
def test_masks_are_between_nothing_and_all_and_half_on_average(size):
    masks = draw_masks(np.random.default_rng(0), 400, *size)
    assert masks.shape == (400, *size)
    assert masks.min() >= 0 and masks.max() <= 1 + 1e-6
    assert masks.mean() == pytest.approx(0.5, abs=0.08)


def test_the_overlay_is_a_picture_of_whole_multiples_of_the_size_red_where_the_heat_is_and_blue_where_it_is_negative():
    heat = np.zeros((16, 20))
    heat[0, 0], heat[15, 19] = 1.0, -1.0
    png = overlay_png(picture(), heat)
    with Image.open(io.BytesIO(png)) as shown:
        assert shown.format == "PNG"
        pixels = np.asarray(shown)
    assert pixels.shape == (16 * 12, 20 * 12, 3)
    assert pixels[0, 0, 0] > 2 * pixels[0, 0, 2]
    assert pixels[-1, -1, 2] > 2 * pixels[-1, -1, 0]
    middle = pixels[100, 100].astype(int)
    assert np.ptp(middle) == 0, "no heat, no colour"
    assert png == overlay_png(picture(), heat)
    assert base64.b64encode(overlay_png(picture(), np.zeros((16, 20))))


def test_the_heat_of_a_large_picture_is_averaged_down():
    heat = np.arange(600.0 * 300).reshape(600, 300)
    rows = np.array(heat_rows(heat))
    assert rows.shape == (200, 100)
    assert rows[0, 0] == pytest.approx(heat[:3, :3].mean())
    assert np.array(heat_rows(heat[:520, :299])).shape == (174, 100)
    assert heat_rows(heat[:2, :2]) == heat[:2, :2].tolist()
