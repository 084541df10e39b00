from tortoise import migrations

from daemon.store.days.partitions import TABLES
from daemon.store.migrations._postgres import Postgres


class Migration(migrations.Migration):
    dependencies = [("provisiond", "0002_constraints")]  # noqa: RUF012 - the shape tortoise asks for

    operations = [Postgres(TABLES, "Make the table of sample days")]  # noqa: RUF012 - as above
