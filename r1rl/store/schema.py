"""One row of the rollout store: the columns, their types, and which of them may be empty."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from r1rl.verify import VERIFIER_OF_TASK

SCHEMA_VERSION: Final = 3
VERSION_KEY: Final = b"r1rl.rollout_schema_version"
KINDS: Final = ("train", "eval")
OLD_KIND: Final = "probe"
"""How versions 1 and 2 call sampled held-out rollouts, in the column `kind` and in the names of shards; today they are
`eval` as the greedy ones are, whose temperature has always been 0."""
KIND_SQL: Final = f"CASE kind WHEN '{OLD_KIND}' THEN 'eval' ELSE kind END AS kind"
"""The column `kind` of rows of any version, for DuckDB."""
SAMPLED_SQL: Final = "temperature IS DISTINCT FROM 0"
"""Holds for every rollout but the greedy ones, for DuckDB: one whose temperature is not known counts as sampled."""
FINISH_REASONS: Final = ("eos", "stop", "length")
REWARD_PREFIX: Final = "reward_"

# `reward` and the per-rule rewards are null where the gold could not be judged, `advantage` outside training,
# tokens and log-probs where the sampler did not keep them, `kept` where no group can be thrown away.
NULLABLE: Final = frozenset(
    {"token_ids", "logprobs", "verifier", "verdict", "verdict_reason", "reward", "advantage", "kept"}
)
IMPORTED_NULLABLE: Final = frozenset({"n_tokens", "finish_reason", "temperature", "top_p", "cap", "wall_time"})
"""Null besides in imported rollouts, where the other tool's file does not say."""


def _field(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=name in NULLABLE)


SCHEMA: Final = pa.schema(
    [
        _field("run", pa.string()),
        _field("kind", pa.string()),  # train | eval, of held-out prompts; until version 2 also probe, see OLD_KIND
        _field("step", pa.int64()),  # updates made before this rollout's step
        _field("policy_step", pa.int64()),  # updates made by the policy that sampled it
        _field("rank", pa.int32()),
        _field("prompt_id", pa.string()),
        _field("group_id", pa.string()),
        _field("sample_idx", pa.int32()),
        _field("task", pa.string()),
        _field("template", pa.string()),
        _field("prompt", pa.string()),
        _field("prefill", pa.string()),  # the part of the answer that the prompt already opens
        _field("completion", pa.string()),
        _field("token_ids", pa.list_(pa.int32())),
        _field("logprobs", pa.list_(pa.float32())),  # under the sampling distribution, one per token id
        _field("n_tokens", pa.int32()),
        _field("finish_reason", pa.string()),  # eos | stop | length
        _field("gold", pa.string()),
        _field("meta", pa.string()),  # JSON
        _field("verifier", pa.string()),  # name of the verifier that judges it; since version 2
        _field("verdict", pa.string()),
        _field("verdict_reason", pa.string()),
        _field("reward", pa.float64()),
        _field("advantage", pa.float64()),
        _field("kept", pa.bool_()),  # false: its group was sampled and thrown away (dynamic sampling); since version 2
        _field("temperature", pa.float64()),  # 0.0: greedy
        _field("top_p", pa.float64()),
        _field("cap", pa.int32()),  # tokens
        _field("wall_time", pa.float64()),  # Unix seconds
    ],
    metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()},
)

_VALUES: Final = {"kind": KINDS, "finish_reason": FINISH_REASONS}


def with_rewards(names: Iterable[str]) -> pa.Schema:
    """SCHEMA plus one nullable float64 column for each of `names` (full column names, "reward_<name>"), sorted."""
    extra = [pa.field(name, pa.float64()) for name in sorted(set(names))]
    return pa.schema([*SCHEMA, *extra], metadata=SCHEMA.metadata)


def version(schema: pa.Schema) -> int:
    """Schema version a shard was written with; 0 if it carries none (not a shard of ours)."""
    return int((schema.metadata or {}).get(VERSION_KEY, b"0"))


def stored(rewards: Iterable[str], columns: Sequence[str] | None = None) -> pa.Schema:
    """with_rewards(rewards), or `columns` of it, as readers have it: any may be null, as an older shard's are."""
    schema = with_rewards(rewards)
    chosen = schema.names if columns is None else columns
    return pa.schema([schema.field(name).with_nullable(True) for name in chosen], metadata=schema.metadata)


def check_columns(columns: Iterable[str], known: Sequence[str]) -> None:
    """Raise ValueError for a column that a run does not have."""
    for name in columns:
        if name not in known:
            raise ValueError(f"column={name}: not in this run; it has {', '.join(known)}")


def current(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A shard's rows, of any version up to this one, as rows of `schema`, which is a selection of `stored` columns.

    A column that the shard lacks is null; `verifier` is derived from `task` where only one verifier can be meant,
    so a table without the column `verifier` must bring `task` for that. The kind OLD_KIND becomes `eval`.
    """
    columns = []
    for field in schema:
        if field.name in table.column_names:
            column = table.column(field.name)
            if field.name == "kind":
                column = pc.if_else(pc.equal(column, OLD_KIND), "eval", column)
            columns.append(column)
        elif field.name == "verifier" and "task" in table.column_names:
            known = pa.table({"task": list(VERIFIER_OF_TASK), "verifier": list(VERIFIER_OF_TASK.values())})
            at = pc.index_in(table.column("task"), value_set=known.column("task"))
            columns.append(known.column("verifier").combine_chunks().take(at))
        else:
            columns.append(pa.nulls(len(table), field.type))
    return pa.table(columns, schema=schema)


def table(rows: Sequence[dict[str, Any]], *, imported: bool = False) -> pa.Table:
    """Rows -> Arrow table with SCHEMA's columns, then reward_<name> columns sorted by name.

    A NaN in a reward or advantage column becomes null, and a lone surrogate in a text becomes "?" (UTF-8 has
    none). `imported` rows may lack what IMPORTED_NULLABLE names. Raises ValueError for an unknown column, a missing
    value, or a value that does not fit its column.
    """
    keys = {key for row in rows for key in row}
    known = set(SCHEMA.names)
    extra = {key for key in keys - known if key.startswith(REWARD_PREFIX) and key != REWARD_PREFIX}
    if unknown := sorted(keys - known - extra):
        raise ValueError(f"column={unknown[0]}: not a rollout column; extra columns are named {REWARD_PREFIX}<name>")
    schema = with_rewards(extra)
    if imported:
        fields = [field.with_nullable(field.nullable or field.name in IMPORTED_NULLABLE) for field in schema]
        schema = pa.schema(fields, metadata=schema.metadata)
    return pa.table([_column(field, rows) for field in schema], schema=schema)


def _column(field: pa.Field, rows: Sequence[dict[str, Any]]) -> pa.Array:
    values = [row.get(field.name) for row in rows]
    if not field.nullable and None in values:
        raise ValueError(f"{field.name}=None: row {values.index(None)} lacks it, the column allows no nulls")
    if (allowed := _VALUES.get(field.name)) and (
        bad := [value for value in values if value not in allowed and value is not None]
    ):
        raise ValueError(f"{field.name}={bad[0]!r}: need one of {', '.join(allowed)}")
    if field.type == pa.float64() and field.nullable:
        values = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
    try:
        try:
            return pa.array(values, type=field.type)
        except UnicodeEncodeError:
            return pa.array([_storable(value) for value in values], type=field.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"column={field.name}: values do not fit {field.type}: {error}") from error


def _storable(value: object) -> object:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
