"""The schema in JavaScript: strict Ajv compiles it and judges as we do, and quicktype makes types of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from live_push.contract.options import PayloadOptions
from live_push.contract.schema import body_schema
from tests.conftest import need

from . import members, mutants
from .test_schema import body, each_option, validator

NODE = shutil.which("node")

AJV = """
const Ajv = require("ajv/dist/2020").default;
const ajv = new Ajv({ strict: true, allowUnionTypes: true });
require("ajv-formats").default(ajv);
const { schema, bodies } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const validate = ajv.compile(schema);
process.stdout.write(JSON.stringify(bodies.map((body) => validate(body))));
"""

# What quicktype makes for JavaScript checks a body when it is read, and throws.
QUICKTYPE = """
const { InputData, JSONSchemaInput, quicktype } = require("quicktype-core");
const { schema, bodies } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
(async () => {
    const input = new JSONSchemaInput(undefined);
    await input.addSource({ name: "Body", schema: JSON.stringify(schema) });
    const inputData = new InputData();
    inputData.addInput(input);
    const made = { exports: {} };
    const { lines } = await quicktype({ inputData, lang: "javascript" });
    new Function("module", lines.join("\\n"))(made);
    const reads = (body) => {
        try {
            return made.exports.toBody(JSON.stringify(body)) !== null;
        } catch {
            return false;
        }
    };
    process.stdout.write(JSON.stringify(bodies.map(reads)));
})();
"""


def in_node(script: str, schema: dict[str, Any], bodies: list[dict[str, Any]], *packages: str) -> list[bool]:
    """Return what the script says of each body."""
    need(NODE, "To try the schema in JavaScript, install Node 20 or newer: https://nodejs.org/")
    folders = [Path(folder) for folder in os.environ.get("NODE_PATH", "").split(os.pathsep) if folder]
    need(
        all(any((folder / package).is_dir() for folder in folders) for package in packages),
        f"To try the schema in JavaScript: npm install --prefix FOLDER {' '.join(packages)}, "
        "and set NODE_PATH=FOLDER/node_modules.",
    )
    question = json.dumps({"schema": schema, "bodies": bodies})
    ran = subprocess.run([str(NODE), "--eval", script], input=question, capture_output=True, text=True, check=False)  # noqa: S603
    assert ran.returncode == 0, ran.stderr
    verdicts: list[bool] = json.loads(ran.stdout)
    return verdicts


@each_option
def test_strict_ajv_compiles_the_schema_and_judges_as_we_do(options: PayloadOptions) -> None:
    whole = [body(member, options) for member in members.MEMBERS.values()]
    broken = [
        mutant
        for sent in whole
        for name, mutant in mutants.broken(sent, withheld=options.withheld_fields)
        # JavaScript has no such numbers: it rounds them to the largest that is allowed.
        if str(2**63) not in name and str(-(2**63) - 1) not in name
    ]
    judge = validator(options)
    verdicts = in_node(AJV, body_schema(options), [*whole, *broken], "ajv", "ajv-formats")
    assert verdicts == [judge.is_valid(one) for one in [*whole, *broken]]
    assert verdicts[: len(whole)] == [True] * len(whole)


@each_option
def test_quicktype_makes_types_that_read_every_body(options: PayloadOptions) -> None:
    whole = [body(member, options) for member in members.MEMBERS.values()]
    without_tier_info = {key: value for key, value in whole[0].items() if key != "tierInfo"}
    verdicts = in_node(QUICKTYPE, body_schema(options), [*whole, without_tier_info], "quicktype-core")
    assert verdicts == [True] * len(whole) + [False]
