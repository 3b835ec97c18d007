use std::process::{Command, Output};

use tests::workspace_binary;

fn gateway(arguments: &[&str]) -> Output {
    Command::new(workspace_binary("gateway"))
        .args(arguments)
        .output()
        .unwrap()
}

fn check(config: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    std::fs::write(&file, config).unwrap();
    let output = gateway(&["check", file.to_str().unwrap()]);
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout),
    )
}

#[test]
fn typing_mistakes_are_all_named_with_line_and_column_and_exit_code_two() {
    let (code, text) = check(
        "[htp]\nlisten = \"127.0.0.1:8080\"\n\n[[source]]\nname = \"a\"\ntype = \"serial\"\ndevise = \"/dev/ttyUSB0\"\n",
    );
    assert_eq!(code, Some(2), "{text}");
    for expected in [
        "gateway.toml:1:2: unknown key `htp`",
        "did you mean `http`?",
        "gateway.toml:7:1: unknown key `devise`",
        "did you mean `device`?",
        "needs `device`",
        "3 mistakes",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
}

#[test]
fn a_file_that_is_not_utf_8_is_told_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    std::fs::write(&file, b"[log]\nlevel = \"info\" # gr\xfc\xdfe\n").unwrap();
    let output = gateway(&["check", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("gateway.toml:2:20: ") && text.contains("UTF-8"),
        "{text}"
    );
}

#[test]
fn a_right_config_is_summed_up_with_exit_code_zero() {
    let (code, text) =
        check("[[source]]\nname = \"a\"\ntype = \"serial\"\ndevice = \"/dev/ttyUSB0\"\n");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("2 sources, 0 rules, 0 webhooks"), "{text}");
}

#[test]
fn wrong_use_is_exit_code_two_and_a_failure_one() {
    assert_eq!(gateway(&["fly"]).status.code(), Some(2));
    assert_eq!(
        gateway(&["run", "--config", "/nowhere.toml"]).status.code(),
        Some(2)
    );
    assert_eq!(gateway(&["--version"]).status.code(), Some(0));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    std::fs::write(
        &file,
        format!("[http]\nlisten = \"{}\"\n", taken.local_addr().unwrap()),
    )
    .unwrap();
    let output = gateway(&["run", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("another program uses this port"), "{text}");
}

#[test]
fn two_gateways_do_not_share_a_data_directory() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let first = tests::Gateway::start("").await;
        let output = gateway(&[
            "run",
            "--config",
            first.dir.path().join("gateway.toml").to_str().unwrap(),
        ]);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("another gateway is using"), "{text}");
    });
}

#[test]
fn ports_lists_what_there_is_or_says_what_to_do() {
    let output = gateway(&["ports"]);
    assert!(output.status.success());
    assert!(!output.stdout.is_empty());
}
