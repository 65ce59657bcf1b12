from relay_core.train.plot import draw


def test_the_plot_of_a_run(tmp_path):
    rows = [
        {"step": i, "accuracy": 0.5, "accuracy/easy": 0.9, "called": 0.2, "called/easy": 0.0, "call_ratio": 0.1,
         "groups/student-solvable": 1.0, **({"requested": 4.0} if i else {})}
        for i in range(3)
    ]  # fmt: skip
    draw(rows, tmp_path / "run.png", "a title")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_the_plot_of_a_run_without_calls(tmp_path):
    draw([{"step": 0, "accuracy": 0.5}], tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 10_000
