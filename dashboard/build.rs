//! Builds the page and lists its files for embedding.
//!
//! Either Node builds it (`npm ci`, then Vite), or `GATEWAY_DASHBOARD_DIST` names a folder that holds a built page;
//! then no Node is needed, as in a cross build. Cargo runs this again only when a source of the page changed.
//!
//! The sources are copied to `OUT_DIR` and built there. Nothing is written beside them, so that builds for several
//! targets can't disturb each other or an editor's `node_modules`, and a read-only checkout builds too. Only what
//! the build needs is installed (`dependencies`, not `devDependencies`), and only when the lock file changed.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// What the page is made of. The Rust sources and the tests are not among them.
const SOURCES: [&str; 8] = [
    "package.json",
    "package-lock.json",
    ".npmrc",
    "index.html",
    "vite.config.ts",
    "tsconfig.json",
    "src",
    "public",
];

/// The variable that names a built page.
const PREBUILT: &str = "GATEWAY_DASHBOARD_DIST";

/// The oldest Node that Vite runs on.
const OLDEST_NODE: (u32, u32) = (20, 19);

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed={PREBUILT}");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this by cargo")?);
    let dist = match env::var_os(PREBUILT).filter(|path| !path.is_empty()) {
        Some(path) => prebuilt(Path::new(&path))?,
        None => built_by_node(&out)?,
    };
    let table = table(&dist)?;
    let target = out.join("files.rs");
    fs::write(&target, table).map_err(|error| at("write", &target, &error))
}

fn prebuilt(path: &Path) -> Result<PathBuf, String> {
    let dist = path
        .canonicalize()
        .map_err(|error| format!("{PREBUILT} names {}: {error}", path.display()))?;
    println!("cargo::rerun-if-changed={}", dist.display());
    if dist.join("index.html").is_file() {
        Ok(dist)
    } else {
        Err(format!(
            "{PREBUILT} names {}, which holds no index.html: build the page with `npm run build` in dashboard/ \
             and name its dist folder",
            dist.display()
        ))
    }
}

fn built_by_node(out: &Path) -> Result<PathBuf, String> {
    let home = PathBuf::from(
        env::var_os("CARGO_MANIFEST_DIR")
            .ok_or("CARGO_MANIFEST_DIR is not set: run this by cargo")?,
    );
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", home.join(source).display());
    }
    check_tools()?;

    let page = out.join("page");
    let dist = out.join("dist");
    for source in SOURCES {
        replace(&home.join(source), &page.join(source))?;
    }

    let lock = read(&page.join("package-lock.json"))?;
    let installed = page.join("installed-lock.json");
    if fs::read(&installed).ok().as_deref() != Some(lock.as_slice()) {
        let mut npm = Command::new(npm());
        npm.args(["ci", "--omit=dev", "--no-audit", "--no-fund"])
            .current_dir(&page);
        run(&mut npm, "npm ci").map_err(|output| {
            format!(
                "npm ci could not install what builds the page. It needs the npm registry once; without a network, \
                 set {PREBUILT} to a built page.\n{output}"
            )
        })?;
        fs::write(&installed, lock).map_err(|error| at("write", &installed, &error))?;
    }

    let mut vite = Command::new(npm());
    vite.args(["run", "build"])
        .current_dir(&page)
        .env("GATEWAY_DASHBOARD_OUT", &dist);
    run(&mut vite, "npm run build")
        .map_err(|output| format!("Vite could not build the page.\n{output}"))?;
    Ok(dist)
}

/// Node and npm are there and new enough, or what to install.
fn check_tools() -> Result<(), String> {
    let advice = format!(
        "The dashboard is built with Node.js {}.{} or newer and npm. Install them (Debian 13: `apt-get install nodejs npm`; \
         elsewhere https://nodejs.org), or set {PREBUILT} to a folder with a built page.",
        OLDEST_NODE.0, OLDEST_NODE.1
    );
    let node = version(Command::new("node").arg("--version"))
        .ok_or_else(|| format!("node was not found. {advice}"))?;
    if !new_enough(&node) {
        return Err(format!("node is {node}, which is too old. {advice}"));
    }
    version(Command::new(npm()).arg("--version"))
        .map(drop)
        .ok_or_else(|| format!("npm was not found. {advice}"))
}

fn npm() -> &'static str {
    if cfg!(windows) { "npm.cmd" } else { "npm" }
}

fn version(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether `v20.19.1` is at least [`OLDEST_NODE`].
fn new_enough(version: &str) -> bool {
    let mut parts = version
        .trim_start_matches('v')
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST_NODE
}

/// Runs to the end; what it printed is the error.
fn run(command: &mut Command, name: &str) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{name} could not be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{name} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Makes `to` the same as `from`: a file, or a folder with all in it and nothing that is gone.
fn replace(from: &Path, to: &Path) -> Result<(), String> {
    if from.is_dir() {
        match fs::remove_dir_all(to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(at("clear", to, &error));
            }
            _ => {}
        }
        fs::create_dir_all(to).map_err(|error| at("make", to, &error))?;
        for entry in entries(from)? {
            let Some(name) = entry.file_name() else {
                continue;
            };
            replace(&entry, &to.join(name))?;
        }
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|error| at("make", folder, &error))?;
    }
    fs::write(to, read(from)?).map_err(|error| at("write", to, &error))
}

/// The Rust source of the list of files in `dist`, sorted by path.
fn table(dist: &Path) -> Result<String, String> {
    let mut files = Vec::new();
    collect(dist, &mut files)?;
    let mut rows = Vec::with_capacity(files.len());
    for file in files {
        let path = file
            .strip_prefix(dist)
            .map_err(|error| error.to_string())?
            .components()
            .map(|part| part.as_os_str().to_string_lossy())
            .collect::<Vec<_>>()
            .join("/");
        let mime = mime(&file)?;
        let etag = etag(&read(&file)?);
        rows.push((path, file, mime, etag));
    }
    rows.sort();

    let mut source = String::from("[\n");
    for (path, file, mime, etag) in rows {
        let file = file.to_str().ok_or_else(|| {
            format!(
                "{} is not UTF-8: build in a folder whose name is",
                file.display()
            )
        })?;
        writeln!(
            source,
            "    File {{ path: {path:?}, bytes: include_bytes!({file:?}), mime: {mime:?}, etag: {etag:?} }},"
        )
        .map_err(|error| error.to_string())?;
    }
    source.push_str("]\n");
    Ok(source)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    for entry in entries(folder)? {
        if entry.is_dir() {
            collect(&entry, files)?;
        } else {
            files.push(entry);
        }
    }
    Ok(())
}

/// The `Content-Type` of what Vite puts out. An unknown kind stops the build: a browser must not have to guess.
fn mime(file: &Path) -> Result<&'static str, String> {
    match file.extension().and_then(|end| end.to_str()) {
        Some("html") => Ok("text/html; charset=utf-8"),
        Some("js") => Ok("text/javascript; charset=utf-8"),
        Some("css") => Ok("text/css; charset=utf-8"),
        Some("json" | "map") => Ok("application/json"),
        Some("webmanifest") => Ok("application/manifest+json"),
        Some("txt") => Ok("text/plain; charset=utf-8"),
        Some("svg") => Ok("image/svg+xml"),
        Some("png") => Ok("image/png"),
        Some("ico") => Ok("image/x-icon"),
        Some("webp") => Ok("image/webp"),
        Some("woff2") => Ok("font/woff2"),
        _ => Err(format!(
            "{} has an ending without a known content type: add it to dashboard/build.rs",
            file.display()
        )),
    }
}

/// A strong entity tag, quoted as in the header: 128 bits of FNV-1a over the bytes.
fn etag(bytes: &[u8]) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0100_0000_0000_0000_0000_013b;
    let hash = bytes.iter().fold(OFFSET, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
    });
    format!("\"{hash:032x}\"")
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    fs::read_dir(folder)
        .and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.path()))
                .collect::<io::Result<_>>()
        })
        .map_err(|error| at("list", folder, &error))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| at("read", path, &error))
}

fn at(what: &str, path: &Path, error: &io::Error) -> String {
    format!("could not {what} {}: {error}", path.display())
}
