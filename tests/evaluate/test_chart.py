from xml.etree import ElementTree

import pytest

from relay_core.evaluate.chart import Point, chart


@pytest.mark.parametrize("points", [[], [Point("<a>", 0.05, 0.5, (0.4, 0.6)), Point("b", 0.11, 1.0, (0.9, 1.0))]])
def test_a_chart_is_svg_with_every_setting(points):
    svg = ElementTree.fromstring(
        chart(points, student=0.2, teacher=0.8, router=lambda r: 0.2 + r * 0.6, x_title="x & y", y_title="score")
    )
    name = "{http://www.w3.org/2000/svg}"
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in svg.iter(f"{name}circle")]
    texts = [t.text for t in svg.iter(f"{name}text")]
    assert len(circles) == len(points) and all(p.label in texts for p in points) and "x & y" in texts
    assert "student alone 20.0%" in texts and "teacher alone 80.0%" in texts
    assert all(0 < x < 860 and 0 < y < 420 for x, y in circles)
    (router,) = [line for line in svg.iter(f"{name}line") if line.get("class") == "router"]
    assert float(router.get("y2")) < float(router.get("y1")) == pytest.approx(364 - 0.2 * 340)
    if points:
        assert circles[0][0] < circles[1][0] and circles[0][1] > circles[1][1]
        assert [t for t in texts if t in ("0", "0.05", "0.1")]
