use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use tests::repository;

const MAX_LINES: usize = 600;
const FREE_FOR_ALL: [&str; 9] = [
    "model", "glob", "clock", "backoff", "cause", "damage", "rejects", "files", "wear",
];
const PURE: [&str; 4] = ["decode", "normalise", "store", "alert"];

fn files(folder: &Path, ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir()
                && !["node_modules", "dist", "target", "test-results", ".git"]
                    .contains(&name.as_str())
            {
                folders.push(path);
            } else if ends.iter().any(|end| name.ends_with(end)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn is_test(path: &Path) -> bool {
    path.components()
        .any(|c| c.as_os_str() == "tests" || c.as_os_str() == "e2e")
        || path.ends_with("tests.rs")
        || path.to_str().unwrap().contains(".test.")
}

/// A file's code without its tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The rooms that a text names by `crate::room` or `crate::{room…, room…}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    let without_comments: String = code
        .lines()
        .map(|l| l.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    for (at, found) in without_comments.match_indices("crate::") {
        let rest = &without_comments[at + found.len()..];
        let word = |text: &str| {
            text.trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        };
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item_starts = true;
            for (i, c) in group.char_indices() {
                if item_starts && !c.is_whitespace() {
                    rooms.insert(word(&group[i..]));
                    item_starts = false;
                }
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => item_starts = true,
                    _ => {}
                }
            }
        } else {
            rooms.insert(word(rest));
        }
    }
    rooms.remove("");
    rooms
}

fn room_of(file: &Path, source: &Path) -> String {
    let inside = file.strip_prefix(source).unwrap();
    inside
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned()
}

/// The table of rooms on the page: who may import whom.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let page = std::fs::read_to_string(repository().join("docs/ARCHITECTURE.md")).unwrap();
    let table = page
        .split("## The rooms")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let words = |cell: &str| {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(ToOwned::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let mut allowed = BTreeMap::new();
    for row in table.lines().filter(|l| l.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').collect();
        for room in words(cells[1]) {
            allowed.insert(room, words(cells[3]));
        }
    }
    assert!(allowed.len() > 15, "the table of rooms cannot be read");
    allowed
}

#[test]
fn every_room_imports_only_whom_the_page_lets_it() {
    let source = repository().join("gateway/src");
    let allowed = allowed();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for file in files(&source, &[".rs"]).into_iter().filter(|f| !is_test(f)) {
        let room = room_of(&file, &source);
        if ["lib", "main", "app"].contains(&room.as_str()) {
            continue;
        }
        let Some(may) = allowed.get(&room) else {
            wrong.push(format!("the room {room} is not on the page"));
            continue;
        };
        for import in imports(&code(&file)) {
            if import != room && !may.contains(&import) && !FREE_FOR_ALL.contains(&import.as_str())
            {
                wrong.push(format!(
                    "{} imports {import}",
                    file.strip_prefix(&source).unwrap().display()
                ));
            }
        }
        seen.insert(room);
    }
    for room in allowed.keys().filter(|r| *r != "app" && !seen.contains(*r)) {
        wrong.push(format!("the page names a room {room} that is not there"));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_pure_rooms_do_no_io_and_read_no_clock() {
    let source = repository().join("gateway/src");
    let mut wrong = Vec::new();
    for file in files(&source, &[".rs"])
        .into_iter()
        .filter(|f| !is_test(f) && PURE.contains(&room_of(f, &source).as_str()))
    {
        let code = code(&file);
        for forbidden in [
            "tokio::",
            "std::fs",
            "std::net",
            "std::io::",
            "std::env",
            "crate::clock",
            "SystemTime",
            "Instant::now",
            "tracing::",
        ] {
            if code
                .lines()
                .any(|l| !l.trim_start().starts_with("//") && l.contains(forbidden))
            {
                wrong.push(format!(
                    "{} uses {forbidden}",
                    file.strip_prefix(&source).unwrap().display()
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_client_library_is_named_in_one_room_only() {
    let source = repository().join("gateway/src");
    let homes = [
        ("influxdb2::", "archive/influx.rs"),
        ("rumqttc::", "source/mqtt"),
        ("tokio_serial::", "source/serial"),
        ("rusqlite::", ""),
        ("lettre::", "notify/smtp.rs"),
    ];
    let mut wrong = Vec::new();
    for file in files(&source, &[".rs"]).into_iter().filter(|f| !is_test(f)) {
        let inside = file
            .strip_prefix(&source)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let code = code(&file);
        for (library, home) in homes {
            let at_home = inside.starts_with(home)
                || (library == "rumqttc::"
                    && (inside.starts_with("source/broker") || inside == "notify/mqtt.rs"));
            if code.contains(library) && !at_home {
                wrong.push(format!("{inside} names {library}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_file_is_longer_than_six_hundred_lines_without_its_tests() {
    let mut long = Vec::new();
    for file in files(repository(), &[".rs", ".ts", ".tsx"])
        .into_iter()
        .filter(|f| !is_test(f))
    {
        let lines = code(&file).lines().count();
        if lines > MAX_LINES {
            long.push(format!(
                "{}: {lines}",
                file.strip_prefix(repository()).unwrap().display()
            ));
        }
    }
    assert_eq!(long, Vec::<String>::new());
}

#[test]
fn the_simulator_does_not_know_the_gateway() {
    let manifest = std::fs::read_to_string(repository().join("sensor-sim/Cargo.toml")).unwrap();
    assert!(
        !manifest.contains("gateway"),
        "sensor-sim/Cargo.toml names the gateway"
    );
}

#[test]
fn the_page_is_short_and_every_link_in_the_documents_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in files(repository(), &[".md"]) {
        let text = std::fs::read_to_string(&page).unwrap();
        if page.ends_with("ARCHITECTURE.md") && text.lines().count() >= 200 {
            wrong.push(format!(
                "{} has {} lines",
                page.display(),
                text.lines().count()
            ));
        }
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty()
                && !target.contains("://")
                && !page.parent().unwrap().join(target).exists()
            {
                wrong.push(format!(
                    "{}: {link}",
                    page.strip_prefix(repository()).unwrap().display()
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_counter_on_the_page_exists() {
    let page = std::fs::read_to_string(repository().join("docs/bounds.md")).unwrap();
    let code: String = files(&repository().join("gateway/src"), &[".rs"])
        .iter()
        .map(|f| std::fs::read_to_string(f).unwrap())
        .collect();
    let named: BTreeSet<&str> = page
        .split('`')
        .filter(|w| w.starts_with("gateway_"))
        .map(|w| w.split('{').next().unwrap())
        .collect();
    let missing: Vec<_> = named
        .into_iter()
        .filter(|name| !code.contains(&format!("\"{}\"", name.trim_end_matches("_total"))))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}
