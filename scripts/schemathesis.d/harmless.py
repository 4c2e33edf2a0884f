"""Nothing is asked of a project that is there: what could be the name of one is changed, what could be none is sent as it is."""

import re

import schemathesis


@schemathesis.hook
def before_call(_context, case, _kwargs):
    if case.method.upper() != "POST" or not case.path.startswith("/api/projects/"):
        return
    name = (case.path_parameters or {}).get("id")
    if isinstance(name, str) and re.fullmatch("[a-z0-9][a-z0-9_-]*", name):
        case.path_parameters["id"] = f"no-such-{name}"[:255]
