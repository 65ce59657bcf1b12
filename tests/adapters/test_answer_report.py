"""What both plugins say of an answer."""

from __future__ import annotations

import dataclasses
import json

from relay_core import Relay, RelaySettings, ScriptedEngine
from relay_core.adapters.answer_report import report

SETTINGS = RelaySettings()


def test_what_the_engines_had_to_say_is_in_it_and_all_is_json() -> None:
    answer = Relay(ScriptedEngine("Yes."), None).generate("Hi")
    reported = report(
        dataclasses.replace(answer, notes={"teacher_approximate": "begins anew", "answer": "Yes."}), [], SETTINGS
    )
    assert reported["notes"] == {"teacher_approximate": "begins anew"}
    assert report(answer, [], SETTINGS)["notes"] == {}
    assert json.loads(json.dumps(reported)) == reported
