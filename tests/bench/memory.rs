//! The long form of the test in `tests/system/memory.rs`: a million series, every ring full, and all the rest at once.

use tests::{
    Gateway, HangingSink,
    onslaught::{self, Scale},
};

pub(crate) async fn run(points: usize) {
    let files = usize::try_from(onslaught::raise_own_limit()).unwrap_or(usize::MAX);
    let webhook = HangingSink::start().await;
    let gateway = Gateway::start(&onslaught::config(12, &webhook)).await;
    let scale = Scale {
        series: 1_000_000,
        points,
        topics: 50_000,
        connections: 10_000.min(files.saturating_sub(2_000)),
        browsers: 200,
        readers: 200,
        publishers: 400,
    };
    println!("\nmemory: {scale:?}");
    let figure = |what: &str| {
        println!(
            "{what:<24} resident {:>5} MB, at most {:>5} MB; documented {} MB",
            gateway.memory("VmRSS") / 1_000_000,
            gateway.memory("VmHWM") / 1_000_000,
            onslaught::documented_bytes() / 1_000_000
        );
    };
    figure("at the start");
    onslaught::fill(&gateway, scale).await;
    figure("filled");
    let held = onslaught::unleash(&gateway, scale).await;
    figure(&format!("{} connections held", held.len()));
}
