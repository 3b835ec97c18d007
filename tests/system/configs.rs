use std::path::Path;

use gateway::config::{Surroundings, parse};

fn check(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap();
    let around = Surroundings {
        folder: file.parent().unwrap(),
        read_file: &|path| std::fs::read_to_string(path),
        environment: &|_| Some(String::from("secret")),
    };
    if let Err(mistakes) = parse(&file.display().to_string(), &text, &around) {
        panic!("{mistakes}");
    }
}

#[test]
fn every_config_that_people_start_from_is_right() {
    let folder = tests::repository().join("config");
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|e| e == "toml") {
            check(&file);
            checked += 1;
        }
    }
    assert!(
        checked >= 3,
        "only {checked} configs in {}",
        folder.display()
    );
}

#[test]
fn every_mapping_preset_is_right() {
    let folder = tests::repository().join("config/mappings");
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let preset = entry.unwrap().path();
        let text = format!(
            "[[source]]\nname = \"m\"\ntype = \"mqtt\"\nurl = \"mqtt://localhost\"\nmappings_file = \"{}\"\n",
            preset.file_name().unwrap().to_str().unwrap()
        );
        let around = Surroundings {
            folder: &folder,
            read_file: &|path| std::fs::read_to_string(path),
            environment: &|_| None,
        };
        if let Err(mistakes) = parse("preset.toml", &text, &around) {
            panic!("{mistakes}");
        }
        checked += 1;
    }
    assert!(checked >= 3);
}

#[test]
fn every_scenario_of_the_simulator_is_right() {
    for entry in std::fs::read_dir(tests::repository().join("config/scenarios")).unwrap() {
        let file = entry.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        if let Err(error) = sensor_sim::Scenario::parse(&text) {
            panic!("{}: {error}", file.display());
        }
    }
}

#[test]
fn the_full_example_names_every_key_that_the_reader_knows() {
    let full = std::fs::read_to_string(tests::repository().join("config/full.toml")).unwrap();
    let folder = tests::repository().join("gateway/src/config");
    let mut missing = Vec::new();
    for file in [
        "mod.rs",
        "section.rs",
        "source.rs",
        "mapping.rs",
        "rule.rs",
        "webhook.rs",
        "template.rs",
    ] {
        let code = std::fs::read_to_string(folder.join(file)).unwrap();
        for call in [
            "optional",
            "set",
            "required",
            "placed",
            "required_placed",
            "set_size",
            "set_count",
            "set_number",
            "set_within",
            "set_within_seconds",
            "choice",
            "texts",
            "tables",
            "table",
        ] {
            for (at, _) in code.match_indices(&format!(".{call}")) {
                let rest = code[at + 1 + call.len()..].trim_start_matches(|c: char| {
                    c == ':'
                        || c == '<'
                        || c == '>'
                        || c.is_alphanumeric()
                        || c == '('
                        || c.is_whitespace()
                });
                let Some(key) = rest.strip_prefix('"').and_then(|r| r.split('"').next()) else {
                    continue;
                };
                let is_key =
                    !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
                let named = [
                    format!("{key} ="),
                    format!("[{key}]"),
                    format!("[[{key}]]"),
                    format!("source.{key}]"),
                ]
                .iter()
                .any(|form| full.contains(form));
                if is_key && !named {
                    missing.push(format!("{file}: {key}"));
                }
            }
        }
    }
    missing.sort();
    missing.dedup();
    assert_eq!(missing, Vec::<String>::new());
}
