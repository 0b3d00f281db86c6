//! The same rollback as commands to type by hand, from the config alone: for the night on which this program is what
//! does not work. Pure; connects to nobody, so it says what to look at where the program would look itself.

use crate::nouns::inventory::{App, Database, Header, Host, Inventory, Layout, Nginx, Role, Run, WordStands};
use crate::nouns::names::RemotePath;

/// Commands for each host, in the order in which they are safe.
pub fn manual(inventory: &Inventory) -> String {
    let mut text = format!(
        "# Rollback of {} / {} by hand. Go on only when a step shows what it should.\n",
        inventory.service, inventory.environment
    );
    section(&mut text, "1. blue must answer, on every app host, before anything else");
    for host in inventory.with_role(Role::App) {
        for url in crate::hosts::facts::health_urls(&inventory.blue) {
            command(&mut text, host, &format!("curl -fsS -m 3{} {url}", health_with(&inventory.blue)));
        }
        if inventory.nginx.container.is_some() && inventory.blue.servers.iter().any(|server| server.name().is_some()) {
            comment(
                &mut text,
                "a name that only containers know: docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' NAME",
            );
        }
        comment(&mut text, "if it does not:");
        command(&mut text, host, &start(inventory, &inventory.blue));
    }
    section(&mut text, "2. switch each balancer, and see that blue answers");
    let nginx = &inventory.nginx;
    let (test, reload) = (where_nginx_is(inventory, &nginx.test), where_nginx_is(inventory, &nginx.reload));
    for host in inventory.with_role(Role::Balancer) {
        if let Some(container) = &nginx.container {
            let mounted = format!(
                "FILE is where {} is mounted from, if it is a path in the container, else that path (podman: the same words):",
                nginx.file
            );
            comment(&mut text, &mounted);
            command(&mut text, host, &format!("docker inspect -f '{{{{json .Mounts}}}}' {container}"));
        }
        for file in files(nginx) {
            command(&mut text, host, &format!("readlink -f {}", quoted(file)));
        }
        comment(
            &mut text,
            "keep a copy outside of every folder that nginx includes, where nobody else can put another:",
        );
        for file in files(nginx) {
            command(&mut text, host, &sudo(inventory, &format!("cp {} {}", quoted(file), copy(inventory, file))));
        }
        if nginx.container.is_some() {
            comment(&mut text, "written over and not replaced, for a container keeps a file that alone is mounted:");
        }
        for file in files(nginx) {
            let vi = if nginx.container.is_some() { "vi -c 'set backupcopy=yes'" } else { "vi" };
            command(&mut text, host, &sudo(inventory, &format!("{vi} {}", quoted(file))));
        }
        what_the_file_must_say(&mut text, inventory);
        command(&mut text, host, &test);
        command(&mut text, host, &reload);
        let probe_host = nginx.probe_host.as_ref().map_or(String::new(), |name| format!(" -H 'Host: {name}'"));
        command(&mut text, host, &format!("curl -sS -i -m 3{probe_host} {}", nginx.probe));
        comment(&mut text, "the answer must be blue's; a reload that says nothing may not have happened:");
        match &nginx.container {
            Some(container) => command(&mut text, host, &format!("docker logs --tail 20 {container}")),
            None => command(&mut text, host, &sudo(inventory, "tail -n 5 /var/log/nginx/error.log")),
        }
    }
    section(&mut text, "3. drain: repeat until both show nothing");
    for host in inventory.with_role(Role::Balancer) {
        for port in inventory.green.ports() {
            command(&mut text, host, &format!("ss -Htn state established '( dport = :{port} )'"));
        }
        command(&mut text, host, "ps ax | grep '[s]hutting down'");
    }
    section(&mut text, "4. stop green, and see that its port stays closed");
    for host in inventory.with_role(Role::App) {
        command(&mut text, host, &stop(inventory, &inventory.green));
        for port in inventory.green.ports() {
            command(&mut text, host, &format!("ss -Hltn 'sport = :{port}'"));
        }
    }
    section(&mut text, "5. look again: what users see, and what each balancer answers");
    for host in inventory.with_role(Role::Balancer) {
        let probe_host = nginx.probe_host.as_ref().map_or(String::new(), |name| format!(" -H 'Host: {name}'"));
        command(&mut text, host, &format!("curl -sS -i -m 3{probe_host} {}", nginx.probe));
    }
    for url in &inventory.verify.public {
        text.push_str(&format!("curl -fsS -m 5 {url}\n"));
    }
    if let Some(smoke) = &inventory.verify.smoke {
        text.push_str(&format!("{smoke}\n"));
    }
    section(&mut text, "6. keep the evidence");
    for host in inventory.with_role(Role::App) {
        if let Some(log) = &inventory.green.log {
            let kept = format!("{}-rollback-{}.log.gz", inventory.green.colour, host.name);
            comment(&mut text, "only a file: whoever owns it may have made it something that never ends");
            let log = quoted(log.as_str());
            let gzip = quoted(&format!("test -f {log} && timeout 60 head -c 1G {log} | gzip -1 -c"));
            text.push_str(&format!("ssh {} {gzip} > {kept}\n", host.ssh));
        }
    }
    if let Some(database) = &inventory.database {
        restore(&mut text, inventory, database);
    }
    section(&mut text, "back to green, should blue be the mistake");
    comment(&mut text, "the same in step 2 with the copy:");
    for host in inventory.with_role(Role::Balancer) {
        for file in files(nginx) {
            let live = format!("$(readlink -f {})", quoted(file));
            command(&mut text, host, &sudo(inventory, &format!("cp {} \"{live}\"", copy(inventory, file))));
        }
        command(&mut text, host, &format!("{test} && {reload}"));
    }
    text
}

fn what_the_file_must_say(text: &mut String, inventory: &Inventory) {
    match &inventory.nginx.layout {
        Layout::Weights { upstreams, .. } => {
            let names: Vec<String> = upstreams.iter().map(|name| format!("`upstream {name}`")).collect();
            comment(text, &format!("in {} the servers must read:", names.join(" and ")));
            // Of several each is the other's way out, and what counts failures is how nginx finds it.
            let alone = if inventory.blue.servers.len() == 1 { " max_fails=0" } else { "" };
            for server in &inventory.blue.servers {
                comment(text, &format!("    server {server} weight=100{alone};"));
            }
            for server in &inventory.green.servers {
                comment(text, &format!("    server {server} down;      # nginx refuses weight=0"));
            }
            comment(text, "where there is only one: blue's address in its place, and nothing else");
        }
        Layout::Link(files) => {
            comment(text, &format!("instead of the editor: ln -sfn {} {}", files.blue, inventory.nginx.file));
        }
        Layout::Copy(files) => {
            let blue = inventory.nginx.beside(&files.blue);
            comment(text, &format!("instead of the editor: cp {blue} {}", inventory.nginx.file));
        }
        Layout::NotSaid => comment(text, "blue serves, and green does not"),
        Layout::Word { words, stands } => {
            let place = match stands {
                WordStands::InAPass => "what is passed to".to_owned(),
                WordStands::InAVariable(None) => "what the variable is given, by `set` or a map's default".to_owned(),
                WordStands::InAVariable(Some(name)) => format!("what ${name} is given, by `set` or a map's default"),
            };
            comment(text, &format!("{place}: \"{}\" instead of \"{}\"", words.blue, words.green));
        }
    }
}

/// Where the copy lies: in a folder where nobody else can make it first, or put another in its place.
fn copy(inventory: &Inventory, file: &str) -> String {
    let folder = if inventory.nginx.sudo { "/root" } else { "~" };
    let which = match inventory.nginx.also.is_empty() {
        true => String::new(),
        false => format!(".{}", quoted(file.rsplit('/').next().unwrap_or(file))),
    };
    format!("{folder}/{}.nginx.before{which}", inventory.service)
}

/// The files that are changed; a container's may be anywhere on the host.
fn files(nginx: &Nginx) -> impl Iterator<Item = &str> {
    let file = if nginx.container.is_some() { "FILE" } else { nginx.file.as_str() };
    [file].into_iter().chain(nginx.also.iter().map(RemotePath::as_str))
}

/// One of nginx's commands.
fn where_nginx_is(inventory: &Inventory, words: &[String]) -> String {
    match &inventory.nginx.container {
        Some(container) => format!("docker exec {container} {}", words.join(" ")),
        None => sudo(inventory, &words.join(" ")),
    }
}

/// The database by hand: beside the live one first, then two renames. Never into the live one.
fn restore(text: &mut String, inventory: &Inventory, database: &Database) {
    let Some(host) = inventory.with_role(Role::Database).next() else { return };
    let psql = match &database.container {
        Some(container) => format!("docker exec -i {container} psql -X -U {}", quoted(&database.admin)),
        None => format!("sudo -u {} psql -X", quoted(&database.admin)),
    };
    let name = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let live = &database.name;
    let (copy, before) = (format!("{live}_copy"), format!("{live}_before"));
    let dump = database.backups.as_ref().map_or("FILE.sql.gz", |pattern| pattern.as_str());
    section(text, "7. only if the database must go back too: what was written after the dump is lost to the service");
    command(text, host, &format!("ls -lt {dump}"));
    comment(
        text,
        "FILE is the newest one from before the deploy. It must end with `PostgreSQL database dump complete`, and the",
    );
    comment(text, "second command must print 0 (more: it would write into the live database):");
    command(text, host, "zcat FILE | tail -n 5");
    command(text, host, "zcat FILE | grep -cE '^(.connect|CREATE DATABASE|DROP DATABASE)'");
    let owner = database.user.as_ref().map_or(String::new(), |user| format!(" OWNER {}", name(user)));
    let sql = |sql: &str, on: &str| format!("{psql} -d {on} -c {}", quoted(sql));
    command(text, host, &sql(&format!("CREATE DATABASE {} TEMPLATE template0{owner}", name(&copy)), "postgres"));
    command(
        text,
        host,
        &format!(
            "zcat FILE | grep -vE '^.(un)?restrict ' | {psql} -q -1 -v ON_ERROR_STOP=1 -d {} && echo loaded",
            quoted(&copy)
        ),
    );
    command(text, host, &sql("ANALYZE", &quoted(&copy)));
    for check in &database.checks {
        command(text, host, &sql(check, &quoted(&copy)));
    }
    comment(text, "the swap, with two terminals: the first waits 5 s for sessions to end, the second ends them");
    let swap = format!(
        "BEGIN; ALTER DATABASE {} RENAME TO {}; ALTER DATABASE {} RENAME TO {}; COMMIT",
        name(live),
        name(&before),
        name(&copy),
        name(live)
    );
    command(text, host, &sql(&swap, "postgres"));
    let literal = format!("'{}'", live.replace('\'', "''"));
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {literal}");
    command(text, host, &sql(&end, "postgres"));
    comment(
        text,
        "rights and settings of the database do not follow its name; compare, and give the new one what is missing:",
    );
    command(text, host, &sql("\\l+", "postgres"));
    command(text, host, &sql("\\drds", "postgres"));
    comment(text, "back again: the same swap with the two names changed");
}

/// What curl is told besides the URL of a health.
fn health_with(app: &App) -> String {
    let with = &app.health_with;
    // A secret is no part of what is printed.
    let header = |header: &Header| match header.line.reveal().split_once(':') {
        Some((name, _)) if header.hidden.is_some() => format!("{name}: …"),
        _ => header.line.reveal().to_owned(),
    };
    let mut words: Vec<String> = with.headers.iter().map(|line| format!(" -H {}", quoted(&header(line)))).collect();
    words.extend(with.ca.as_ref().map(|ca| format!(" --cacert {}", quoted(ca.as_str()))));
    words.extend(with.insecure.then(|| " -k".to_owned()));
    words.concat()
}

fn quoted(word: &str) -> String {
    shell_words::quote(word).into_owned()
}

fn section(text: &mut String, title: &str) {
    text.push_str(&format!("\n# {title}\n"));
}

fn comment(text: &mut String, line: &str) {
    text.push_str(&format!("#   {line}\n"));
}

/// One line to paste: the remote command in quotes, so that the laptop's shell leaves it alone.
fn command(text: &mut String, host: &Host, remote: &str) {
    text.push_str(&format!("ssh -t {} {}\n", host.ssh, shell_words::quote(remote)));
}

fn sudo(inventory: &Inventory, command: &str) -> String {
    if inventory.nginx.sudo { format!("sudo {command}") } else { command.to_owned() }
}

fn start(inventory: &Inventory, app: &App) -> String {
    match &app.run {
        Run::Systemd(unit) => sudo(inventory, &format!("systemctl start {unit}")),
        Run::Docker(name) => format!("docker start {name}"),
        Run::Compose { file, service, .. } => format!("docker compose -f {file} start {service}"),
        Run::Process { start: Some(start), .. } => {
            format!("setsid sh -c {} </dev/null >/dev/null 2>&1 &", shell_words::quote(start))
        }
        Run::Process { exe, start: None, .. } => format!("echo 'the config does not say how {exe} is started'"),
        Run::Command(commands) => shell_words::join(&commands.start),
    }
}

fn stop(inventory: &Inventory, app: &App) -> String {
    let grace = app.stop_timeout.as_secs();
    match &app.run {
        Run::Systemd(unit) => sudo(inventory, &format!("systemctl stop {unit}")),
        Run::Docker(name) => format!("docker stop -t {grace} {name}"),
        Run::Compose { file, service, .. } => format!("docker compose -f {file} stop -t {grace} {service}"),
        // Never by pattern: `pkill -f` kills its own shell, and whoever reads the log.
        Run::Process { exe, port, .. } => {
            sudo(inventory, &format!("ss -Hltnp 'sport = :{port}'   # then: kill PID, if /proc/PID/exe is {exe}"))
        }
        Run::Command(commands) => shell_words::join(&commands.stop),
    }
}
