//! What a host said of itself: nginx's files, who listens, containers, units, databases, dumps. Reads answers of `survey.sh`;
//! what is not there is empty. Never says what any of it is for.

use std::collections::BTreeMap;

use crate::hosts::answer::Answer;
use crate::hosts::facts::{Listener, read_listeners};
use crate::nginx::{ConfigFile, files_of_dump};
use crate::nouns::names::{HostName, SshDestination};

const UNIT: char = '\u{1f}';

/// One host.
#[derive(Debug, Clone)]
pub struct Survey {
    pub name: HostName,
    pub ssh: SshDestination,
    pub user: String,
    pub is_root: bool,
    pub sudo: SudoSeen,
    pub addresses: Vec<String>,
    /// nginx on the host itself, then those in containers.
    pub nginxes: Vec<NginxSeen>,
    pub containers: Vec<ContainerSeen>,
    pub listeners: Vec<Listener>,
    pub processes: BTreeMap<u32, ProcessSeen>,
    /// Sockets that are listened on, with the process where it is known.
    pub sockets: Vec<(Option<u32>, String)>,
    pub units: Vec<UnitSeen>,
    /// Programs of supervisord, and the words by which it is asked.
    pub supervised: Vec<SupervisedSeen>,
    pub supervisor: Vec<String>,
    /// Pids of runit's `runsv` and the folders of their services, and the words by which it is asked.
    pub runit: Vec<(u32, String)>,
    pub runit_by: Vec<String>,
    pub databases: Vec<DatabaseSeen>,
    pub dumps: Vec<DumpSeen>,
}

/// What `sudo -n` lets the account do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SudoSeen {
    /// It is root already.
    NotNeeded,
    Everything,
    Something,
    Nothing,
    NotInstalled,
}

/// An nginx that was found.
#[derive(Debug, Clone)]
pub struct NginxSeen {
    /// The name of its container, where it is in one.
    pub container: Option<String>,
    pub files: Vec<ConfigFile>,
    /// Of the files those that are links, and where they lead to.
    pub links: BTreeMap<String, String>,
    /// What lies beside them.
    pub beside: Vec<ConfigFile>,
    /// Why it did not show what it has loaded.
    pub refused: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct ContainerSeen {
    pub id: String,
    pub name: String,
    pub engine: String,
    pub is_running: bool,
    pub image: String,
    pub labels: BTreeMap<String, String>,
    /// Ports of the host that lead to it.
    pub published: Vec<u16>,
    /// The same by the ports that they lead to.
    pub inside: BTreeMap<u16, u16>,
    pub addresses: Vec<String>,
    pub command: String,
}

impl ContainerSeen {
    pub fn service(&self) -> Option<&str> {
        self.labels.get("com.docker.compose.service").map(String::as_str)
    }
}

#[derive(Debug, Clone, Default)]
pub struct ProcessSeen {
    pub cwd: Option<String>,
    pub words: Vec<String>,
    pub uid: Option<u32>,
    pub logs: Vec<String>,
    /// The name and the role of the database that it was given.
    pub database: Option<(String, Option<String>)>,
}

#[derive(Debug, Clone, Default)]
pub struct UnitSeen {
    pub name: String,
    pub is_active: bool,
    pub start: String,
    pub output: Option<String>,
    pub ports: Vec<u16>,
}

#[derive(Debug, Clone)]
pub struct SupervisedSeen {
    pub name: String,
    pub pid: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseSeen {
    pub container: Option<String>,
    /// The role that may create and rename databases.
    pub admin: String,
    pub name: String,
    pub owner: String,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DumpSeen {
    pub seconds: f64,
    pub bytes: u64,
    pub path: String,
}

/// Reads what a host answered.
pub fn read(name: HostName, ssh: SshDestination, answer: &Answer) -> Survey {
    let text = |section: &str| answer.text(section).unwrap_or_default();
    let who = text("who");
    let mut who = who.lines();
    let is_root = who.next() == Some("0");
    let user = who.next().unwrap_or_default().to_owned();
    let sudo = match text("rights").trim() {
        "root" => SudoSeen::NotNeeded,
        "all" => SudoSeen::Everything,
        "none" => SudoSeen::Nothing,
        "no sudo" => SudoSeen::NotInstalled,
        _ => SudoSeen::Something,
    };
    let containers: Vec<ContainerSeen> = answer.all("container").filter_map(|said| container(&said)).collect();
    let named = |id: &str| containers.iter().find(|of| of.id == id.trim()).map(|of| of.name.clone());
    let mut nginxes = Vec::new();
    if let Some(dump) = answer.text("nginx.dump") {
        let files = files_of_dump(&dump);
        let links = text("nginx.links").lines().filter_map(pair).collect();
        let beside = answer.all("nginx.beside").filter_map(|said| {
            let (path, text) = said.split_once('\n')?;
            Some(ConfigFile { path: path.to_owned(), text: text.to_owned() })
        });
        let refused = answer.text("nginx.refused").map(|said| said.trim().to_owned());
        let is_contained = |groups: &str| {
            let marks = ["/docker/", "docker-", "libpod", "containerd"];
            containers.iter().any(|of| groups.contains(&of.id)) || marks.iter().any(|mark| groups.contains(mark))
        };
        let runs = text("nginx.runs").lines().filter_map(pair).any(|(_, groups)| !is_contained(&groups));
        // A package that was installed for its programs alone serves nobody.
        if runs || refused.is_some() {
            nginxes.push(NginxSeen { container: None, files, links, beside: beside.collect(), refused });
        }
    }
    for said in answer.all("nginx.contained") {
        let Some((id, dump)) = said.split_once('\n') else { continue };
        let files = files_of_dump(dump);
        if !files.is_empty() {
            let (links, beside) = (BTreeMap::new(), Vec::new());
            nginxes.push(NginxSeen { container: named(id), files, links, beside, refused: None });
        }
    }
    let supervisor = text("supervisor");
    let mut databases: Vec<DatabaseSeen> =
        text("database.here").lines().filter_map(|line| database(line, None, "postgres")).collect();
    for said in answer.all("database.contained") {
        let mut lines = said.lines();
        let (Some(container), Some(admin)) = (lines.next().and_then(named), lines.next()) else { continue };
        databases.extend(lines.filter_map(|line| database(line, Some(container.clone()), admin)));
    }
    Survey {
        name,
        ssh,
        user,
        is_root,
        sudo,
        addresses: text("addresses").lines().map(|line| written_address(line.trim())).collect(),
        nginxes,
        containers,
        listeners: read_listeners(&text("listeners")),
        processes: answer.all("process").filter_map(|said| process(&said)).collect(),
        sockets: text("sockets.unix")
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(pid, path)| (pid.parse().ok(), path.to_owned()))
            .collect(),
        units: units(&text("units")),
        supervised: supervisor.lines().skip(1).filter_map(supervised).collect(),
        supervisor: words(supervisor.lines().next()),
        runit: text("runit")
            .lines()
            .skip(1)
            .filter_map(pair)
            .filter(|(_, at)| !at.is_empty())
            .filter_map(|(pid, at)| Some((pid.parse().ok()?, at)))
            .collect(),
        runit_by: words(text("runit").lines().next()),
        databases,
        dumps: text("dumps").lines().filter_map(dump).collect(),
    }
}

fn words(line: Option<&str>) -> Vec<String> {
    line.unwrap_or_default().split(UNIT).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn pair(line: &str) -> Option<(String, String)> {
    line.split_once(UNIT).map(|(one, other)| (one.to_owned(), other.to_owned()))
}

/// `/proc/net/if_inet6` has 32 digits without a colon.
fn written_address(line: &str) -> String {
    match u128::from_str_radix(line, 16) {
        Ok(bits) if line.len() == 32 => std::net::Ipv6Addr::from(bits).to_string(),
        Ok(_) | Err(_) => line.to_owned(),
    }
}

fn container(said: &str) -> Option<ContainerSeen> {
    let mut lines = said.lines();
    let engine = lines.next()?.to_owned();
    let id = lines.next()?.trim().to_owned();
    let name = lines.next()?.trim().trim_start_matches('/').to_owned();
    let is_running = lines.next()?.trim() == "true";
    let image = lines.next()?.trim().to_owned();
    let labels: Option<BTreeMap<String, String>> = serde_json::from_str(lines.next()?).ok();
    let ports: serde_json::Value = serde_json::from_str(lines.next()?).unwrap_or_default();
    let addresses = lines.next()?.split_whitespace().map(str::to_owned).collect();
    let command = lines.next().unwrap_or_default().trim().to_owned();
    let mut inside = BTreeMap::new();
    for (own, hosts) in ports.as_object().into_iter().flatten() {
        let own: Option<u16> = own.split('/').next().and_then(|port| port.parse().ok());
        for host in hosts.as_array().into_iter().flatten() {
            let port = host["HostPort"].as_str().and_then(|port| port.parse::<u16>().ok());
            if let (Some(own), Some(port)) = (own, port) {
                inside.insert(own, port);
            }
        }
    }
    let published = inside.values().copied().collect();
    Some(ContainerSeen {
        id,
        name,
        engine,
        is_running,
        image,
        labels: labels.unwrap_or_default(),
        published,
        inside,
        addresses,
        command,
    })
}

fn process(said: &str) -> Option<(u32, ProcessSeen)> {
    let mut lines = said.lines();
    let pid = lines.next()?.trim().parse().ok()?;
    let cwd = lines.next().filter(|cwd| cwd.starts_with('/')).map(str::to_owned);
    let words = lines.next().unwrap_or_default();
    let words = words.trim_end().split(UNIT).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let uid = lines.next().and_then(|uid| uid.trim().parse().ok());
    let mut process = ProcessSeen { cwd, words, uid, ..ProcessSeen::default() };
    for line in lines {
        if let Some(path) = line.strip_prefix("log ") {
            process.logs.push(path.trim_end_matches(" (deleted)").to_owned());
        } else if let Some(rest) = line.strip_prefix("database ")
            && let Some((name, role)) = rest.rsplit_once(' ')
        {
            process.database = Some((name.to_owned(), Some(role.to_owned()).filter(|role| role != "-")));
        }
    }
    Some((pid, process))
}

/// Paragraphs of `Key=value`, as `systemctl show` prints them.
fn units(said: &str) -> Vec<UnitSeen> {
    let of = |paragraph: &str| -> Option<UnitSeen> {
        let value = |key: &str| {
            paragraph.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default().to_owned()
        };
        if value("LoadState") != "loaded" {
            return None;
        }
        // `{ path=/opt/x ; argv[]=/opt/x --port 8080 ; ignore_errors=no ; … }`
        let start = value("ExecStart");
        let start = start.split("argv[]=").nth(1).and_then(|rest| rest.split(" ;").next()).unwrap_or(&start).to_owned();
        let output = value("StandardOutput");
        let output = ["append:", "file:", "truncate:"].iter().find_map(|kind| output.strip_prefix(kind));
        let given =
            paragraph.lines().filter_map(|line| line.strip_prefix("Environment=")?.rsplit_once('=')?.1.parse().ok());
        let ports = ports_in(&start).into_iter().chain(given).collect();
        let is_active = value("ActiveState") == "active";
        Some(UnitSeen { name: value("Id"), is_active, output: output.map(str::to_owned), ports, start })
    };
    said.split("\n\n").filter_map(of).collect()
}

/// Numbers of a command line that may be ports.
pub fn ports_in(line: &str) -> Vec<u16> {
    line.split(|c: char| !c.is_ascii_digit())
        .filter(|word| (2..=5).contains(&word.len()))
        .filter_map(|word| word.parse::<u16>().ok())
        .filter(|port| *port >= 80)
        .collect()
}

/// `listings-blue   RUNNING   pid 812, uptime 1:02:03`
fn supervised(line: &str) -> Option<SupervisedSeen> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    let state = words.next()?;
    let is_state = !state.is_empty() && state.chars().all(|c| c.is_ascii_uppercase());
    let pid = line.split("pid ").nth(1).and_then(|rest| rest.split(',').next()).and_then(|pid| pid.parse().ok());
    is_state.then_some(SupervisedSeen { name, pid })
}

fn database(line: &str, container: Option<String>, admin: &str) -> Option<DatabaseSeen> {
    let words: Vec<&str> = line.split(UNIT).collect();
    let [name, owner, bytes] = words.as_slice() else { return None };
    Some(DatabaseSeen {
        container,
        admin: admin.trim().to_owned(),
        name: (*name).to_owned(),
        owner: (*owner).to_owned(),
        bytes: bytes.trim().parse().ok()?,
    })
}

fn dump(line: &str) -> Option<DumpSeen> {
    let mut words = line.splitn(3, ' ');
    let seconds = words.next()?.parse().ok()?;
    let bytes = words.next()?.parse().ok()?;
    Some(DumpSeen { seconds, bytes, path: words.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_print_is_read() {
        let shown = "Id=a.service\nLoadState=loaded\nActiveState=active\nStandardOutput=append:/var/log/a.log\nEnvironment=PORT=8081\n\
                     ExecStart={ path=/opt/a ; argv[]=/opt/a --listen 127.0.0.1:8080 ; ignore_errors=no ; start_time=[n/a] }\n\n\
                     Id=gone.service\nLoadState=not-found\nActiveState=inactive\n";
        let units = units(shown);
        assert_eq!(units.len(), 1);
        assert_eq!((units[0].start.as_str(), units[0].is_active), ("/opt/a --listen 127.0.0.1:8080", true));
        assert_eq!(
            (units[0].ports.as_slice(), units[0].output.as_deref()),
            (&[127, 8080, 8081][..], Some("/var/log/a.log"))
        );
        let program = supervised("shop:green_00   RUNNING   pid 812, uptime 1:02:03").expect("a program");
        assert_eq!((program.name.as_str(), program.pid), ("shop:green_00", Some(812)));
        assert!(supervised("unix:///var/run/supervisor.sock no such file").is_none());
        let dumped = files_of_dump(
            "nginx: warning\n# configuration file /etc/nginx/nginx.conf:\na;\n\n# configuration file /etc/nginx/b:\nb;\n\n",
        );
        assert_eq!(dumped.iter().map(|file| file.text.as_str()).collect::<Vec<_>>(), ["a;\n", "b;\n"]);
        let (pid, seen) =
            process("7\n/opt\n/opt/a\u{1f}--x y\u{1f}\n1000\nlog /opt/a.log\ndatabase shop app\n").expect("one");
        assert_eq!((pid, seen.words.as_slice()), (7, &["/opt/a".to_owned(), "--x y".to_owned()][..]));
        assert_eq!((seen.logs.len(), seen.database), (1, Some(("shop".into(), Some("app".into())))));
    }
}
