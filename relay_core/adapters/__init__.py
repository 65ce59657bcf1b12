"""What the plugins and the server share: everything between an answer's events and a framework's messages that knows
no framework.

authorship.py       who wrote which characters, and the pieces (text, tool calls) of an answer by one author each
answer_report.py    what is reported of an answer beside its text
settings_fields.py  the settings as pydantic fields
structured.py       an answer written again as JSON that follows a schema
"""
