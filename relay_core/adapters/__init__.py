"""What the plugins and the server share: everything between an answer's events and a framework's messages that knows
no framework.

arguments.py        checks of a model's arguments
settings_fields.py  the settings as pydantic fields, and the settings of one call
build_relay.py      the relay of a model, from its specs, engines and keys
pickling.py         pickles without keys
identity.py         a relay's name, and whether its student calls tools
authorship.py       the author of each character, and an answer's pieces (text, tool calls), each by one author
answer_report.py    the report on an answer beside its text, and its count of input tokens
structured.py       an answer written again as JSON under a schema
"""
