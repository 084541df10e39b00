from tortoise import migrations

from daemon.store.constraints import FIRST
from daemon.store.migrations._rules import Rules


class Migration(migrations.Migration):
    dependencies = [("provisiond", "0001_initial")]  # noqa: RUF012 - the shape tortoise asks for

    operations = [Rules(FIRST)]  # noqa: RUF012 - as above
