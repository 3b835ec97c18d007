//! When a group goes, and what a commit writes.

use super::{
    super::{allowance, rhythm},
    *,
};

impl Open {
    /// A message of a sender that goes on meanwhile.
    async fn queue_steady(&self, batch: Batch) -> oneshot::Receiver<Position> {
        let (sender, receiver) = oneshot::channel();
        let call: OnDurable = Box::new(move |position| sender.send(position).unwrap_or_default());
        let steady = Urgency::Steady { messages: 1 };
        let taken = self
            .journal
            .submit_as(steady, News::None, batch, call)
            .await;
        taken.expect("taken");
        receiver
    }

    /// What nobody waits for, but is news to a rule.
    async fn queue_news(&self, news: News, batch: Batch) -> oneshot::Receiver<Position> {
        let (sender, receiver) = oneshot::channel();
        let call: OnDurable = Box::new(move |position| sender.send(position).unwrap_or_default());
        let taken = self
            .journal
            .submit_as(Urgency::Patient, news, batch, call)
            .await;
        taken.expect("taken");
        receiver
    }

    /// Commits that were hastened, and that were not.
    fn hastened(&self) -> (u64, u64) {
        let metrics = &self.journal.shared.metrics;
        (metrics.hastened.get(), metrics.not_hastened.get())
    }
}

fn by_itself() -> Config {
    Config {
        commit_prompt: Rhythm::Auto,
        ..patient()
    }
}

#[tokio::test]
async fn by_itself_what_is_acknowledged_gathers_and_whoever_waits_for_an_answer_takes_it_along() {
    let dir = tempfile::tempdir().unwrap();
    let open = open_with(dir.path(), by_itself());
    assert_eq!(
        durable(open.queue_steady(numbered(0, 1)).await).await,
        1,
        "after a pause it goes at once"
    );
    let began = Instant::now();
    let waiting = [
        open.queue_steady(numbered(1, 1)).await,
        open.queue_steady(numbered(2, 1)).await,
        open.queue_patient(numbered(3, 1)).await,
    ];
    for one in waiting {
        assert_eq!(durable(one).await, 2, "one record for all");
    }
    assert!(began.elapsed() > rhythm::UNWATCHED / 2, "they gathered");
    let steady = open.queue_steady(numbered(4, 1)).await;
    let began = Instant::now();
    assert_eq!(open.submit(numbered(5, 1)).await, Position(3));
    assert_eq!(durable(steady).await, 3);
    // Slow machines are slow; but it did not wait for the rest.
    assert!(began.elapsed() < rhythm::UNWATCHED);
    let much = open.queue_steady(numbered(6, 20_000)).await;
    assert_eq!(durable(much).await, 4, "much of it goes without waiting");
}

#[tokio::test]
async fn while_somebody_looks_what_is_acknowledged_gathers_for_a_shorter_time() {
    let dir = tempfile::tempdir().unwrap();
    let open = open_with(dir.path(), by_itself());
    open.journal.set_watched(true);
    let mut took = Duration::MAX;
    // The least of some: others use this machine, too. A pause between them: this sender is not held back.
    for n in 0..5 {
        tokio::time::sleep(2 * rhythm::WATCHED).await;
        durable(open.queue_steady(numbered(n, 1)).await).await;
        let began = Instant::now();
        durable(open.queue_steady(numbered(n, 1)).await).await;
        took = took.min(began.elapsed());
    }
    assert!(took > rhythm::WATCHED / 2, "it gathers: {took:?}");
    assert!(took < rhythm::UNWATCHED / 2, "but not for long: {took:?}");
}

#[tokio::test]
async fn a_sender_that_waits_for_each_answer_is_not_slowed_down_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let open = open_with(dir.path(), by_itself());
    let began = Instant::now();
    for n in 0..500 {
        durable(open.queue_steady(numbered(n, 1)).await).await;
    }
    // With a second for each it would take minutes.
    assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_news_to_a_rule_goes_at_once_until_that_was_so_too_often() {
    let dir = tempfile::tempdir().unwrap();
    // What is patient waits for an hour.
    let open = open_with(dir.path(), by_itself());
    let began = Instant::now();
    durable(open.queue_patient(numbered(0, 1)).await).await;
    let waits = open.queue_patient(numbered(1, 1)).await;
    let news = open.queue_news(News::Fresh, numbered(2, 1)).await;
    assert_eq!(durable(news).await, 2);
    assert_eq!(durable(waits).await, 2, "and takes along what waited");
    assert_eq!(open.hastened(), (1, 0));
    let mut n = 3;
    let gathers = 'swings: loop {
        let mut news = open.queue_news(News::Again, numbered(n, 1)).await;
        n += 1;
        while news.try_recv().is_err() {
            assert!(began.elapsed() < DEADLINE, "it goes, or it is refused");
            if open.hastened().1 > 0 {
                break 'swings news;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let hastened = open.hastened().0;
    let refilled = began.elapsed().as_secs() / 10;
    let most = u64::from(allowance::MOST - allowance::KEPT);
    assert!(
        (most..=most + refilled).contains(&hastened),
        "{hastened} of {most}"
    );
    let fresh = open.queue_news(News::Fresh, numbered(n, 1)).await;
    let position = durable(fresh).await;
    assert_eq!(
        durable(gathers).await,
        position,
        "it gathered until another was quiet before"
    );
    assert_eq!(open.hastened(), (hastened + 1, 1));
}

/// The one segment file in the folder.
fn segment_file(dir: &Path) -> PathBuf {
    let mut found = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "seg"));
    let file = found.next().expect("a segment");
    assert!(found.next().is_none(), "one segment");
    file
}

#[tokio::test]
async fn a_segment_that_was_made_longer_ahead_is_no_torn_one_and_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        segment_bytes: 4 << 20,
        ..small()
    };
    let open = open_with(dir.path(), config.clone());
    open.submit(numbered(0, 3)).await;
    let path = segment_file(dir.path());
    let length = std::fs::metadata(&path).unwrap().len();
    assert_eq!(length, 65_536, "it is longer than its one record");
    assert_eq!(
        open.journal.status().bytes,
        length,
        "and counts as long as it is"
    );
    open.submit(numbered(1, 3)).await;
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length);
    open.journal.close().await;
    let again = open_with(dir.path(), config.clone());
    assert_eq!(again.recovery.torn_bytes, 0);
    assert_eq!(
        (again.recovery.records, again.recovery.damaged_records),
        (2, 0)
    );
    assert_eq!(again.submit(numbered(2, 3)).await, Position(3));
    assert_eq!(segment_file(dir.path()), path, "in the same file");
    assert_eq!(again.entries().len(), 3);
    again.journal.close().await;

    // Something was being written there.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0, 1, 0, 7], 30_000).unwrap();
    let torn = open_with(dir.path(), config);
    assert!(torn.recovery.torn_bytes > 20_000, "{:?}", torn.recovery);
    assert_eq!(torn.entries().len(), 3);
}
