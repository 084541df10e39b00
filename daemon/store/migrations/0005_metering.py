import functools
from json import dumps, loads

from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.migrations import operations as ops

from daemon.store.constraints import METERING
from daemon.store.migrations._filled import AddFilled
from daemon.store.migrations._rules import Rules


class Migration(migrations.Migration):
    dependencies = [("provisiond", "0004_pushed_usage")]  # noqa: RUF012 - the shape tortoise asks for

    initial = False

    operations = [  # noqa: RUF012 - as above
        ops.CreateModel(
            name="ServiceAlertsRow",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                (
                    "service",
                    fields.ForeignKeyField(
                        "provisiond.ServiceRow",
                        source_field="service_id",
                        unique=True,
                        db_constraint=True,
                        to_field="id",
                        related_name=False,
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                (
                    "switches",
                    fields.JSONField(
                        default=dict, encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
                    ),
                ),
                (
                    "sent",
                    fields.JSONField(
                        default=dict, encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
                    ),
                ),
            ],
            options={
                "table": "service_alerts",
                "app": "provisiond",
                "pk_attr": "id",
                "table_description": "Which alerts a service wants, and which of its period have been sent.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="WatermarkRow",
            fields=[
                ("source", fields.CharField(primary_key=True, unique=True, db_index=True, max_length=200)),
                ("at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "watermark",
                "app": "provisiond",
                "pk_attr": "source",
                "table_description": "Up to when a source has brought all it had: a report of a module, by its last reading that came.",
            },
            bases=["Model"],
        ),
        ops.AddField(
            model_name="ServiceRow",
            name="closes_at",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        ops.AddField(
            model_name="ServiceRow",
            name="closed_until",
            field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
        ),
        AddFilled(
            model_name="UsageRecordRow",
            name="aside",
            field=fields.BigIntField(default=0),
            existing=0,
        ),
        AddFilled(
            model_name="UsageRecordRow",
            name="author",
            field=fields.CharField(default="daemon", max_length=200),
            existing="daemon",
        ),
        AddFilled(
            model_name="UsageRecordRow",
            name="basis",
            field=fields.JSONField(
                default=dict, encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
            ),
            existing={},
        ),
        AddFilled(
            model_name="UsageRecordRow",
            name="classes",
            field=fields.JSONField(
                default=dict, encoder=functools.partial(dumps, separators=(",", ":")), decoder=loads
            ),
            existing={},
        ),
        AddFilled(
            model_name="UsageRecordRow",
            name="corrected",
            field=fields.BigIntField(default=0),
            existing=0,
        ),
        AddFilled(
            model_name="UsageRecordRow",
            name="expected",
            field=fields.BigIntField(default=0),
            existing=0,
        ),
        AddFilled(
            model_name="UsageRecordRow",
            name="formula",
            field=fields.IntField(default=0),
            existing=0,
        ),
        AddFilled(
            model_name="UsageRecordRow",
            name="held",
            field=fields.BooleanField(default=False),
            existing=False,
        ),
        AddFilled(
            model_name="UsageRecordRow",
            name="known",
            field=fields.BooleanField(default=True),
            existing=True,
        ),
        ops.AddField(
            model_name="UsageRecordRow",
            name="reason",
            field=fields.TextField(null=True, unique=False),
        ),
        AddFilled(
            model_name="UsageRecordRow",
            name="seal",
            field=fields.CharField(default="", max_length=80),
            existing="",
        ),
        # Before there were closed periods a release wrote the records of a whole service: it is closed, and never closed again.
        ops.RunSQL(
            "UPDATE service SET closed_until = billing_until WHERE state = 'released' AND billing_until IS NOT NULL"
        ),
        ops.DeleteModel(name="SampleBlockRow"),
        Rules(METERING),
    ]
