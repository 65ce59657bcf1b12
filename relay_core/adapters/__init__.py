"""The code that the plugins and the server share, and that depends on no framework.

arguments.py        checks of the arguments of ChatRelay and RelayLLM
settings_fields.py  the settings as pydantic fields, and the settings of one request
build_relay.py      builds a relay from specs, engines and keys
pickling.py         pickles without keys
identity.py         the name of a relay, and whether its student can call tools
authorship.py       the author of each character, and an answer's pieces (text, tool calls), each by one author
answer_report.py    the report on an answer, and its count of input tokens
cut_answers.py      which limit cut an answer, and whether the JSON in it is whole
structured.py       writes an answer again as JSON under a schema
"""
