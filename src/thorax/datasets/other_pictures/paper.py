"""Text, pages, screenshots and charts."""

import numpy as np
from PIL import ImageDraw

from thorax.datasets.other_pictures.drawing import Brush, Canvas, clouds, picture_of, written

__all__ = ["chart", "page", "screenshot", "text"]


def text(canvas: Canvas, brush: Brush) -> Canvas:
    """Lines of words that fill the picture."""
    paper, ink = (brush.gray(0.8, 1.0), brush.gray(0.0, 0.3))
    image, draw = picture_of(canvas + np.float32(paper / 255))
    size = brush.between(7, 40)
    top = brush.between(-size, size)
    while top < image.height:
        if not brush.chance(0.1):
            left = brush.between(-20, 20) if brush.chance(0.3) else 4
            written(draw, (left, top), brush.line(2 + int(image.width / size)), size, ink)
        top += size * brush.between(1.1, 1.6)
    if brush.chance(0.4):
        image = image.rotate(brush.between(-8, 8), fillcolor=paper)
    return np.asarray(image, dtype=np.float32) / 255


def page(canvas: Canvas, brush: Brush) -> Canvas:
    """A page: a heading, columns of text, and perhaps a figure."""
    paper, ink = brush.gray(0.85, 1.0), brush.gray(0.0, 0.3)
    image, draw = picture_of(canvas + np.float32(paper / 255))
    margin = brush.between(0.04, 0.14) * image.width
    heading = brush.between(10, 24)
    written(draw, (margin, margin), brush.line(4), heading, ink)
    columns, size = brush.whole(1, 3), brush.between(4, 9)
    width = (image.width - margin) / columns - margin / 2
    for column in range(columns):
        left = margin + column * (width + margin / 2)
        top = margin + 1.5 * heading
        while top < image.height - margin:
            if brush.chance(0.06):
                bottom = min(image.height - margin, top + brush.between(0.1, 0.3) * image.height)
                draw.rectangle((left, top, left + width, max(top, bottom)), fill=brush.gray(0.2, 0.9))
                top = bottom + size
                continue
            share = brush.between(0.3, 0.7) if brush.chance(0.2) else 1.0
            _greeked(draw, brush, (left, top, left + share * width, top + size), ink)
            top += 1.5 * size
    return np.asarray(image, dtype=np.float32) / 255


def _greeked(draw: ImageDraw.ImageDraw, brush: Brush, box: tuple[float | int, ...], ink: int) -> None:
    """Draw a line of text that is too small to read: strokes of the lengths of words."""
    left, top, right, bottom = box
    while left < right:
        end = min(right, left + brush.between(0.6, 5) * (bottom - top))
        draw.rectangle(
            (left, top + 1, end, max(top + 1, bottom - 1)), fill=min(255, ink + brush.whole(0, 60))
        )
        left = end + 0.5 * (bottom - top)


def screenshot(canvas: Canvas, brush: Brush) -> Canvas:
    """A screen: bars, windows, buttons and tables."""
    dark = brush.chance(0.5)
    ground, ink = (brush.gray(0.0, 0.25), 230) if dark else (brush.gray(0.75, 1.0), 20)
    image, draw = picture_of(canvas + np.float32(ground / 255))
    bar = brush.between(0.04, 0.1) * image.height
    draw.rectangle((0, 0, image.width, bar), fill=brush.gray())
    if brush.chance(0.6):
        draw.rectangle((0, bar, brush.between(0.1, 0.3) * image.width, image.height), fill=brush.gray())
    for _ in range(brush.whole(2, 9)):
        left, top = brush.between(0, 0.9) * image.width, bar + brush.between(0, 0.9) * image.height
        right = left + brush.between(0.1, 0.6) * image.width
        bottom = top + brush.between(0.05, 0.5) * image.height
        draw.rectangle((left, top, right, bottom), fill=brush.gray(), outline=brush.gray())
        size = brush.between(6, 13)
        for line in range(brush.whole(0, 6)):
            written(draw, (left + 3, top + 2 + 1.4 * size * line), brush.line(3), size, ink)
    return np.asarray(image, dtype=np.float32) / 255


def chart(canvas: Canvas, brush: Brush) -> Canvas:
    """Axes with lines, bars, points, or a map of grays."""
    ground, ink = (brush.gray(0.9, 1.0), brush.gray(0, 0.2))
    image, draw = picture_of(canvas + np.float32(ground / 255))
    left, bottom = 0.14 * image.width, 0.86 * image.height
    width, height = 0.8 * image.width, 0.76 * image.height
    shown = ("bars", "lines", "points", "field")[brush.whole(0, 3)]
    for _ in range(brush.whole(1, 4)):
        values = brush.random.random(12 if shown == "bars" else brush.whole(4, 40))
        values = values if shown == "bars" else values.cumsum()
        values = values / values.max()
        places = [
            (left + width * place / len(values), bottom - height * value)
            for place, value in enumerate(values)
        ]
        if shown == "bars":
            for across, up in places:
                draw.rectangle((across + 2, up, across + 0.7 * width / 12, bottom), fill=brush.gray(0.1, 0.7))
            break
        if shown == "lines":
            draw.line(places, fill=brush.gray(0, 0.7), width=brush.whole(1, 3))
        elif shown == "points":
            for across, up in places:
                draw.ellipse((across - 2, up - 2, across + 2, up + 2), fill=brush.gray(0, 0.7))
        else:
            field = clouds((round(height), round(width)), brush, cells=brush.whole(3, 12))
            part, _ = picture_of(field)
            image.paste(part, (round(left), round(bottom - height)))
    draw.line((left, bottom - height, left, bottom, left + width, bottom), fill=ink, width=1)
    for tick in range(6):
        written(draw, (left - 22, bottom - height * tick / 6 - 5), brush.word()[:3], 8, ink)
        written(draw, (left + width * tick / 6, bottom + 4), brush.word()[:3], 8, ink)
    return np.asarray(image, dtype=np.float32) / 255
