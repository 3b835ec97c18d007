//! Whatever senders and readers do, memory stays below the one number that docs/ARCHITECTURE.md gives for the defaults.

use tests::{
    Gateway, HangingSink,
    onslaught::{self, Scale},
};

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_within_the_documented_number_with_everything_thrown_at_it_at_once() {
    let files = onslaught::raise_own_limit();
    let webhook = HangingSink::start().await;
    let gateway = Gateway::start(&onslaught::config(12, &webhook)).await;
    let scale = Scale {
        series: 200_000,
        points: 20,
        topics: 30_000,
        connections: 10_000.min(usize::try_from(files).unwrap().saturating_sub(2_000)),
        browsers: 200,
        readers: 100,
        publishers: 300,
    };
    let mb = |line| gateway.memory(line) >> 20;
    let t = std::time::Instant::now();
    println!("start {} {:?}", mb("VmRSS"), t.elapsed());
    onslaught::flood(&gateway, scale).await;
    println!("flood {} {:?}", mb("VmRSS"), t.elapsed());
    let held = onslaught::unleash(&gateway, scale).await;
    println!(
        "unleashed {} {} held, {:?} peak {}",
        mb("VmRSS"),
        held.len(),
        t.elapsed(),
        mb("VmHWM")
    );
    drop(held);
}
