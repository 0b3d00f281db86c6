//! Migrations that go down after a rollback, by the tools that made them: alembic and django, on a real server. What is
//! asked and kept before, what the database says afterwards, and what is left where it does not go well.

#[path = "support/database.rs"]
mod database;
#[path = "support/site.rs"]
mod site;
mod support;

use database::{Asked, CONFIG, dump, filled, sql};
use site::{back_to_green, run, serves, write};
use support::lab::Lab;

/// An alembic project with two revisions, and one that is about to come.
const ALEMBIC: &str = r#"
set -e
mkdir -p /opt/listings/alembic/versions && cd /opt/listings
cat >alembic.ini <<'INI'
[alembic]
script_location = /opt/listings/alembic
INI
cat >alembic/env.py <<'PY'
import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["DATABASE_URL"]).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
PY
touch alembic/script.py.mako
revision() { # NUMBER BEFORE UP DOWN
  cat >alembic/versions/$1.py <<PY
from alembic import op
revision = "$1"
down_revision = $2
def upgrade():
    op.execute("$3")
def downgrade():
    op.execute("$4")
PY
}
revision 1f00 None "CREATE TABLE users (id int)" "DROP TABLE users"
revision 2f00 '"1f00"' "ALTER TABLE users ADD COLUMN mail text" "ALTER TABLE users DROP COLUMN mail"
revision 3f00 '"2f00"' "CREATE TABLE mails (id int)" "SELECT no_such_thing()"
"#;

const URL: &str = "postgresql://listings@127.0.0.1/listings_prod";

fn alembic(lab: &Lab, words: &str) {
    lab.sh("web1", &format!("cd /opt/listings && DATABASE_URL={URL} alembic {words} 2>&1"));
}

/// A host with a database, what the config says of it, and what the page says of migrations.
fn with_tools(extra: &str) -> Lab {
    let lab = Lab::up(&["web1+postgres+migrations"]);
    lab.postgres("web1");
    filled(&lab);
    lab.config(&format!("{CONFIG}\n{extra}"));
    lab
}

/// The block of the page that begins so, as it stands there.
fn documented(begins: &str) -> String {
    let page = include_str!("../docs/migrations.md");
    let lines = page.lines().skip_while(|line| !line.trim_start().starts_with(begins));
    let block: Vec<&str> = lines.take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    assert!(!block.is_empty(), "the page has {begins}");
    block.join("\n")
}

fn applied(lab: &Lab) -> String {
    sql(lab, "SELECT version_num FROM alembic_version")
}

fn columns(lab: &Lab) -> String {
    sql(lab, "SELECT string_agg(column_name, ',') FROM information_schema.columns WHERE table_name = 'users'")
}

fn begin(lab: &Lab, words: &[&str]) -> Asked {
    let mut all = vec!["--reason", "checkout of 1.4"];
    all.extend(words);
    Asked::begin(lab, &all)
}

#[test]
fn migrations_of_alembic_go_down_once_green_is_stopped_and_the_word_is_typed() {
    let lab = with_tools(&documented("[migrations]"));
    lab.sh("web1", ALEMBIC);
    lab.sh("web1", "echo DATABASE_URL=postgresql://listings@127.0.0.1/listings_prod >/tmp/url");
    std::fs::write(lab.folder().join(".env.deploy"), format!("DATABASE_URL={URL}\n")).expect("write .env.deploy");
    alembic(&lab, "upgrade 1f00");
    dump(&lab, database::NAME, "listings_1.sql.gz", 30);
    alembic(&lab, "upgrade 2f00");
    sql(&lab, "INSERT INTO users VALUES (1, 'a@example.com')");
    let before = site::read(&lab, "web1", site::FILE);

    // What nobody knows is refused before anything changes.
    let refused = |words: &[&str], says: &str| {
        let mut all = vec!["--reason", "a"];
        all.extend(words);
        let scene = run(&lab, &all);
        scene.exits(1).says(says);
        serves(&lab, "web1", "green", &scene);
        assert_eq!(applied(&lab), "2f00");
    };
    refused(&["--migrate-down", "9f00"], "whether alembic has a migration 9f00 nobody can say");
    run(&lab, &["--dry-run", "--migrate-down", "2f00"])
        .exits(0)
        .says("nothing is to be taken back: alembic is at 2f00");
    run(&lab, &["--reason", "a", "--migrate-down", "--restore-db"]).exits(2);
    run(&lab, &["--reason", "a", "--migrate-down", "--keep-green"]).exits(2).says("green must be stopped");

    let scene = run(&lab, &["--dry-run", "--migrate-down"]);
    scene.exits(0).says("take migrations back on web1, once DOWNGRADE is typed");
    scene.says("alembic: from 2f00 to 1f00").says("green runs nowhere any more").says("--migrate-down");

    // Another word: nothing is taken back, and the exit code says so.
    let (exit, said) = {
        let mut asked = begin(&lab, &["--migrate-down"]);
        asked.until_it_says("Type 'DOWNGRADE' to confirm:");
        let said = asked.said();
        assert!(said.contains("goes from 2f00 to 1f00"), "{said}");
        // Green is gone by then, and a dump of what is there is kept.
        assert_eq!(site::unit(&lab, "web1", "listings-green"), "inactive");
        asked.answer("downgrade")
    };
    assert_eq!(exit, 6, "{said}");
    assert!(said.contains("not confirmed") && said.contains("traffic on blue"), "{said}");
    assert!(said.contains("next:       rollback-prod --reason 'checkout of 1.4' --migrate-down"), "{said}");
    assert_eq!((applied(&lab), columns(&lab)), ("2f00".into(), "id,mail".into()));
    back_to_green(&lab, "web1", &before);

    let (exit, said) = begin(&lab, &["--migrate-down"]).answer("DOWNGRADE");
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("alembic is at 1f00"), "{said}");
    assert_eq!((applied(&lab), columns(&lab)), ("1f00".into(), "id".into()));
    let report = site::kept(&lab, "INCIDENT_REPORT.md");
    assert!(report.contains("migrate") && report.contains("alembic is at 1f00"), "{report}");
    // What was lost with the column is in the dump that was kept, for us alone.
    let kept = lab.sh("web1", "ls -l /var/tmp/rollback-prod-1000/*.dump | tail -n 1");
    assert!(kept.starts_with("-rw------- "), "{kept}");
    let file = kept.split_whitespace().last().expect("a path").to_owned();
    let rows = lab.sh("web1", &format!("pg_restore -a -t users -f - {file} | grep example.com"));
    assert!(rows.contains("a@example.com"), "{rows}");
    // Nothing of the variable is on a command line, in the report or in the journal.
    assert!(!report.contains("postgresql://") && !said.contains("postgresql://"), "{report}");

    // The same line once more has nothing left to do.
    run(&lab, &["--reason", "a", "--migrate-down"]).exits(0).says("nothing is to be taken back: alembic is at 1f00");

    // And up again, with all the rest.
    let first = site::incidents(&lab).into_iter().rev().nth(1).expect("the one that went down");
    let first = first.file_name().expect("a name").to_string_lossy().into_owned();
    let undo = run(&lab, &["undo", &first]);
    undo.exits(0).says("downgrade of the database taken back");
    assert_eq!((applied(&lab), columns(&lab)), ("2f00".into(), "id,mail".into()));
    serves(&lab, "web1", "green", &undo);

    // Struck while it goes down: what had begun ends on its host, and the same line finishes or has nothing left to do.
    lab.sh(
        "web1",
        "cd /opt/listings && sed -i '1i import sys, time\\nif \"downgrade\" in sys.argv: time.sleep(2)' alembic/env.py",
    );
    type Strike = (&'static str, &'static [i32], fn(&Lab, &Asked));
    let strikes: [Strike; 3] = [
        ("the laptop is killed", &[-1], |_, asked| asked.signal(rustix::process::Signal::KILL)),
        ("the line is cut for a moment", &[0], |lab, _| {
            lab.cut("web1");
            std::thread::sleep(std::time::Duration::from_millis(1500));
            lab.mend("web1");
        }),
        ("somebody presses Ctrl-C", &[130], |_, asked| asked.signal(rustix::process::Signal::INT)),
    ];
    for (name, exits, strike) in strikes {
        let mut asked = begin(&lab, &["--migrate-down"]);
        asked.type_line("DOWNGRADE");
        site::until(&format!("{name}: it goes down"), || {
            asked.is_over() || lab.exec("web1", &["pgrep", "-f", "alembic.* [d]owngrade"]).status.success()
        });
        assert!(!asked.is_over(), "{name}: it is over\n{}", asked.said());
        strike(&lab, &asked);
        let (exit, said) = asked.ended();
        assert!(exits.contains(&exit), "{name}: {exit}\n{said}");
        assert_eq!(said.contains("alembic is at 1f00"), exit != -1, "{name}\n{said}");
        let (exit, said) = begin(&lab, &["--migrate-down"]).answer("DOWNGRADE");
        assert!(exit != 0 || said.contains("alembic is at 1f00"), "{name}\n{said}");
        assert_eq!(exit, 0, "{name}, and the line once more\n{said}");
        assert_eq!((applied(&lab), columns(&lab)), ("1f00".into(), "id".into()), "{name}\n{said}");
        alembic(&lab, "upgrade 2f00");
        back_to_green(&lab, "web1", &before);
    }

    // One that goes down half-way is told with the state that it left: alembic takes each by itself.
    alembic(&lab, "upgrade 3f00");
    let (exit, said) = begin(&lab, &["--migrate-down", "1f00"]).answer("DOWNGRADE");
    assert_ne!(exit, 0, "{said}");
    assert!(said.contains("no_such_thing") || said.contains("its command ended with"), "{said}");
    assert!(said.contains("alembic is at 3f00, as before"), "{said}");
    assert_eq!(applied(&lab), "3f00");
}

/// A django project with one application, whose second migration adds a column.
const DJANGO: &str = r#"
set -e
mkdir -p /opt/listings/shop/migrations && cd /opt/listings
cat >manage.py <<'PY'
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
PY
cat >settings.py <<'PY'
SECRET_KEY = "x"
INSTALLED_APPS = ["shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "listings_prod", "USER": "listings", "HOST": "127.0.0.1"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PY
touch shop/__init__.py shop/migrations/__init__.py
cat >shop/migrations/0001_initial.py <<'PY'
from django.db import migrations, models
class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [migrations.CreateModel("User", [("id", models.BigAutoField(primary_key=True))])]
PY
for n in 2:mail:0001_initial 3:name:0002_mail; do
  field=$(echo $n | cut -d: -f2); before=$(echo $n | cut -d: -f3)
  cat >shop/migrations/000${n%%:*}_$field.py <<PY
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("shop", "$before")]
    operations = [migrations.AddField("User", "$field", models.TextField(null=True))]
PY
done
"#;

#[test]
fn migrations_of_django_go_down_by_the_application_and_what_lies_is_seen() {
    let lab = with_tools(&documented("[migrations] # django"));
    lab.sh("web1", DJANGO);
    let manage = |words: &str| drop(lab.sh("web1", &format!("cd /opt/listings && python3 manage.py {words} 2>&1")));
    let applied = || sql(&lab, "SELECT string_agg(name, ' ' ORDER BY id) FROM django_migrations WHERE app = 'shop'");
    manage("migrate shop 0001_initial");
    dump(&lab, database::NAME, "listings_1.sql.gz", 30);
    manage("migrate");
    let before = site::read(&lab, "web1", site::FILE);
    let scene = run(&lab, &["--reason", "a", "--migrate-down", "shop.0009_none"]);
    scene.exits(1).says("no tool knows a migration shop.0009_none that is applied");

    // To where the dump is.
    let (exit, said) = begin(&lab, &["--migrate-down"]).answer("DOWNGRADE");
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("2 migrations back: shop.0002_mail, shop.0003_name"), "{said}");
    assert_eq!(applied(), "0001_initial");
    back_to_green(&lab, "web1", &before);

    // A command that says that all is well, and has done nothing.
    manage("migrate");
    write(&lab, "web1", "/opt/listings/manage.py", "print('all is well')\n");
    let (exit, said) = begin(&lab, &["--migrate-down", "shop.0002_mail"]).answer("DOWNGRADE");
    assert_eq!(exit, 6, "{said}");
    assert!(said.contains("the command ended well, and django is at shop.0003_name as before"), "{said}");
    assert_eq!(applied(), "0001_initial 0002_mail 0003_name");
    // Without `up` what went down stays down, and `undo` says so.
    let undo = run(&lab, &["undo"]);
    serves(&lab, "web1", "green", &undo);
}
