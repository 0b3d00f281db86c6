//! Whether users of a shop notice: each layout of `docs/layouts.md` on a real host, rolled back and taken back again and again
//! under load until 10⁵ requests were answered. Prints how many were lost, and why. `cargo bench --bench layouts` (as root: it
//! boots real hosts); `cargo bench --bench layouts -- link container` runs those whose name has one of the words.

#[path = "../tests/support/page.rs"]
mod page;
#[path = "../tests/support/site.rs"]
mod site;
#[path = "../tests/support/mod.rs"]
mod support;

use page::{block, config_of, sections, with_tables};
use site::{FILE, TWO_PORTS, served_by, until};
use support::lab::{Lab, Load, SITE};

const REQUESTS: usize = 100_000;

/// A layout, and what makes a host have it, with green serving.
struct Layout {
    name: String,
    config: String,
    make: Box<dyn Fn(&Lab)>,
}

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|word| name.contains(word.as_str()));
    println!("| layout | there and back | requests | lost | first cause |\n| --- | --- | --- | --- | --- |");
    let mut lost_in_all = 0;
    for layout in layouts().into_iter().filter(|layout| is_chosen(&layout.name)) {
        let lab = Lab::up(&[if layout.name.contains("container") { "web1+docker" } else { "web1" }]);
        lab.config_with(|text| {
            let is_one_file = !layout.config.contains("files = ");
            let text = if is_one_file { text } else { text.replace(&format!("file = \"{FILE}\"\n"), "") };
            with_tables(text, &layout.config)
        });
        (layout.make)(&lab);
        until("green serves", || served_by(&lab, "web1") == "green");
        let load = Load::start(&lab.ip("web1"), "GET", "/", 3 * Load::CONNECTIONS);
        let mut times = 0;
        while load.counts().total < REQUESTS {
            for words in [&["--reason", "a bench"][..], &["undo"]] {
                let done = site::program(&lab, words).output().expect("start the program");
                assert!(done.status.success(), "{}: {}", layout.name, String::from_utf8_lossy(&done.stderr));
            }
            times += 1;
        }
        let counts = load.stop();
        let lost = counts.bad_statuses + counts.transport_errors;
        let cause = counts.bad.first().map_or("", |cause| cause.trim());
        println!("| {} | {times} | {} | {lost} | {cause} |", layout.name, counts.total);
        lost_in_all += lost;
    }
    assert!(lost_in_all == 0, "{lost_in_all} requests were lost");
}

/// The page's several upstreams, each in a file of its own.
fn in_several_files() -> Layout {
    let (name, section) = sections().find(|(name, _)| name.starts_with("Several upstreams")).expect("the page has it");
    let (text, config) = (block(section, "nginx").expect("its file"), block(section, "toml").expect("its config"));
    let (api, web) = text.split_at(text.find("upstream web").expect("the second one"));
    let files = "files = [\"/etc/nginx/conf.d/api.conf\", \"/etc/nginx/conf.d/web.conf\"]";
    let make = move |lab: &Lab| {
        lab.sh(
            "web1",
            &format!("{TWO_PORTS}\nsystemctl restart listings-blue listings-green; rm /etc/nginx/sites-enabled/*"),
        );
        site::write(lab, "web1", "/etc/nginx/conf.d/api.conf", api);
        site::write(lab, "web1", "/etc/nginx/conf.d/web.conf", web);
        lab.sh("web1", "nginx -t 2>&1 && systemctl reload nginx");
    };
    Layout {
        name: format!("{name}, in several files"),
        config: config.replace(&format!("file = \"{FILE}\""), files),
        make: Box::new(make),
    }
}

fn layouts() -> Vec<Layout> {
    let on_the_page = sections().filter_map(|(name, section)| {
        let (file, config) = (block(section, "nginx")?, block(section, "toml")?);
        let make = move |lab: &Lab| {
            lab.sh("web1", &format!("{TWO_PORTS}\nsystemctl restart listings-blue listings-green"));
            site::write(lab, "web1", FILE, file);
            lab.sh("web1", "nginx -t 2>&1 && systemctl reload nginx");
        };
        Some(Layout { name: name.to_owned(), config: config.to_owned(), make: Box::new(make) })
    });
    let with_side_files = |name: &str, put: &'static str| {
        let make = move |lab: &Lab| {
            lab.sh("web1", &format!("{}\n{put}\nnginx -t 2>&1 && systemctl reload nginx", site::SIDE_FILES));
        };
        Layout { name: name.to_owned(), config: config_of(name).to_owned(), make: Box::new(make) }
    };
    let container = |name: &str, words: &'static str| {
        let make = move |lab: &Lab| {
            lab.docker("web1");
            lab.nginx_image("web1");
            lab.sh("web1", "mkdir -p /srv/shop/conf.d");
            let text = format!(
                "upstream shop {{ server 127.0.0.1:8080 down; server 127.0.0.1:8081; keepalive 16; }}\n\
                 server {{ listen 80; server_name {SITE}; location / {{ proxy_pass http://shop; }} }}\n"
            );
            site::write(lab, "web1", "/srv/shop/conf.d/default.conf", &text);
            lab.sh("web1", &format!("docker run -d --name web-nginx --network host {words} nginx:lab"));
        };
        let config =
            "[nginx]\ncontainer = \"web-nginx\"\nfile = \"/srv/shop/conf.d/default.conf\"\nupstream = \"shop\"\n";
        Layout { name: name.to_owned(), config: config.to_owned(), make: Box::new(make) }
    };
    on_the_page
        .chain([
            in_several_files(),
            with_side_files(
                "A link that is turned",
                "ln -s ../sites-available/shop-green.conf /etc/nginx/sites-enabled/listings",
            ),
            with_side_files(
                "A file that is a copy",
                "cp /etc/nginx/sites-available/shop-green.conf /etc/nginx/conf.d/active.conf",
            ),
            container("nginx in a container, its folder mounted", "-v /srv/shop/conf.d:/etc/nginx/conf.d:ro"),
            container(
                "nginx in a container, the file alone mounted",
                "-v /srv/shop/conf.d/default.conf:/etc/nginx/conf.d/default.conf:ro",
            ),
        ])
        .collect()
}
