import functools
from json import dumps, loads

from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.migrations import operations as ops

from daemon.store.constraints import PUSHED
from daemon.store.migrations._rules import Rules


class Migration(migrations.Migration):
    dependencies = [("provisiond", "0003_sample_days")]  # noqa: RUF012 - the shape tortoise asks for

    initial = False

    operations = [  # noqa: RUF012 - as above
        ops.CreateModel(
            name="PushedConflictRow",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("source", fields.CharField(max_length=255)),
                ("event_id", fields.CharField(max_length=255)),
                ("content_hash", fields.CharField(max_length=64)),
                ("sent", fields.JSONField(encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads)),
                ("kept", fields.JSONField(encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads)),
                ("service_id", fields.BigIntField()),
                ("actor", fields.CharField(max_length=200)),
                ("received_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "pushed_conflict",
                "app": "provisiond",
                "unique_together": (("source", "event_id", "content_hash"),),
                "pk_attr": "id",
                "table_description": "The key of an event, sent once more with another content: refused, and kept.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="PushedEventRow",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("source", fields.CharField(max_length=255)),
                ("event_id", fields.CharField(max_length=255)),
                (
                    "service",
                    fields.ForeignKeyField(
                        "provisiond.ServiceRow",
                        source_field="service_id",
                        db_constraint=True,
                        to_field="id",
                        related_name=False,
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("resource", fields.CharField(max_length=60)),
                ("quantity", fields.BigIntField()),
                ("second_resource", fields.CharField(null=True, max_length=60)),
                ("second_quantity", fields.BigIntField(null=True)),
                ("state", fields.CharField(max_length=12)),
                ("why", fields.CharField(null=True, max_length=20)),
                ("actor", fields.CharField(max_length=200)),
                ("received_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("counted_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "pushed_event",
                "app": "provisiond",
                "unique_together": (("source", "event_id"),),
                "pk_attr": "id",
                "table_description": "Usage that somebody pushed. The row is the event and its key at once: the key lives as long as the event.",
            },
            bases=["Model"],
        ),
        Rules(PUSHED),
    ]
