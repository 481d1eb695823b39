use std::future::{pending, ready};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::JoinSet;
use tokio::time::advance;

use super::testing::settings;
use super::*;

/// Counts how often it is asked.
#[derive(Clone, Default)]
struct Asked(Arc<AtomicU32>);

impl Asked {
    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Answers one question after the other, the last one for ever.
    fn with(
        &self,
        answers: Vec<Result<bool, Fault>>,
    ) -> impl Fn() -> std::future::Ready<Result<bool, Fault>> + Send + Sync + use<> {
        let asked = Arc::clone(&self.0);
        move || {
            let place = asked.fetch_add(1, Ordering::Relaxed);
            let place = usize::try_from(place).unwrap().min(answers.len() - 1);
            ready(answers[place].clone())
        }
    }
}

fn backend(settings: BackendSettings) -> Arc<Backend<bool>> {
    Arc::new(Backend::named("http", "http://a:80".into(), &settings))
}

fn down() -> Result<bool, Fault> {
    Err(Fault::Unreachable("refused".into()))
}

#[tokio::test(start_paused = true)]
async fn a_verdict_is_remembered_for_its_time() {
    let backend = backend(BackendSettings {
        cache_time: Duration::from_secs(30),
        negative_cache_time: Duration::from_secs(5),
        ..settings()
    });
    for (verdict, time) in [(true, 30), (false, 5)] {
        let key = backend.key(&[&[u8::from(verdict)]]);
        let asked = Asked::default();
        let ask = || backend.ask(key, asked.with(vec![Ok(verdict)]));
        let time = Duration::from_secs(time);
        let first = ask().await.unwrap();
        assert_eq!((first.verdict, first.good_for), (verdict, time));
        advance(time / 2).await;
        assert_eq!(ask().await.unwrap().good_for, time / 2);
        assert_eq!(asked.count(), 1);
        advance(time / 2).await;
        ask().await.unwrap();
        assert_eq!(asked.count(), 2);
    }
    let statistics = backend.report().statistics;
    assert_eq!((statistics.asked, statistics.cache_hits), (4, 2));
    assert_eq!((statistics.allowed, statistics.denied), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn no_verdict_outlives_its_end() {
    #[derive(Clone)]
    struct Ending(Instant);

    impl Verdict for Ending {
        fn is_allowed(&self) -> bool {
            true
        }

        fn ends_at(&self) -> Option<Instant> {
            Some(self.0)
        }
    }

    let settings = BackendSettings {
        cache_time: Duration::from_secs(60),
        ..settings()
    };
    let backend = Backend::<Ending>::named("custom", "".into(), &settings);
    let key = backend.key(&[b"a"]);
    let end = Instant::now() + Duration::from_secs(7);
    let first = backend.ask(key, move || ready(Ok(Ending(end)))).await;
    assert_eq!(first.unwrap().good_for, Duration::from_secs(7));
    advance(Duration::from_secs(7)).await;
    let again = backend.ask(key, || ready(Err(Fault::Timeout))).await;
    assert!(again.is_err(), "it is not remembered any more");
}

#[tokio::test(start_paused = true)]
async fn errors_are_not_remembered() {
    let backend = backend(BackendSettings {
        cache_time: Duration::from_secs(30),
        negative_cache_time: Duration::from_secs(30),
        ..settings()
    });
    let (key, asked) = (backend.key(&[b"a"]), Asked::default());
    let question = asked.with(vec![down(), Ok(true)]);
    assert!(backend.ask(key, question).await.is_err());
    let question = asked.with(vec![down(), Ok(true)]);
    assert!(backend.ask(key, question).await.unwrap().verdict);
    assert_eq!(backend.report().statistics.errors, 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_and_a_no_is_not() {
    let settings = BackendSettings {
        retries: 2,
        ..settings()
    };
    let with = |answers: Vec<_>| {
        let (backend, asked) = (backend(settings.clone()), Asked::default());
        async move {
            let result = backend.ask(None, asked.with(answers)).await;
            (result.map(|answered| answered.verdict), asked.count())
        }
    };
    assert_eq!(with(vec![down(), down(), Ok(true)]).await, (Ok(true), 3));
    assert_eq!(with(vec![Ok(false)]).await, (Ok(false), 1));
    let status = |status| Err(Fault::Status(status));
    assert_eq!(with(vec![status(500)]).await, (status(500), 3));
    assert_eq!(with(vec![status(400)]).await, (status(400), 1));
}

#[tokio::test(start_paused = true)]
async fn one_deadline_for_the_wait_and_all_tries() {
    let backend = backend(BackendSettings {
        concurrency_max: 1,
        retries: 5,
        ..settings()
    });
    let begin = Instant::now();
    let first = backend.ask(None, pending::<Result<bool, Fault>>);
    let second = backend.ask(None, || ready(Ok(true)));
    let (first, second) = tokio::join!(biased; first, second);
    assert_eq!(first, Err(Fault::Timeout));
    assert_eq!(second, Err(Fault::Busy), "its turn came too late");
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    assert!(backend.ask(None, || ready(Ok(true))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_is_left_alone_and_tried_again() {
    let backend = backend(BackendSettings {
        breaker_errors: 3,
        ..settings()
    });
    let ask = |answer: Result<bool, Fault>| backend.ask(None, move || ready(answer.clone()));
    for _ in 0..3 {
        assert!(ask(Err(Fault::Status(503))).await.is_err());
    }
    assert!(backend.report().is_resting);
    assert_eq!(ask(Ok(true)).await, Err(Fault::Resting));
    advance(Duration::from_secs(10)).await;
    assert!(ask(Ok(true)).await.is_ok(), "one goes first");
    assert!(ask(Ok(true)).await.is_ok(), "and the others follow");
    assert!(!backend.report().is_resting);
    let statistics = backend.report().statistics;
    assert_eq!((statistics.asked, statistics.rested), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn a_client_cannot_shut_out_others_by_questions_that_are_refused() {
    let backend = backend(BackendSettings {
        breaker_errors: 1,
        ..settings()
    });
    for _ in 0..10 {
        let answer = backend.ask(None, || ready(Err(Fault::Status(400)))).await;
        assert_eq!(answer, Err(Fault::Status(400)));
    }
    assert!(backend.ask(None, || ready(Ok(true))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_hear_at_once_that_the_server_is_down() {
    let backend = backend(BackendSettings {
        breaker_errors: 1,
        concurrency_max: 1,
        ..settings()
    });
    let begin = Instant::now();
    let slow = backend.ask(None, || async {
        sleep(Duration::from_secs(1)).await;
        down()
    });
    let waiting = backend.ask(None, || ready(Ok(true)));
    let (_, waiting) = tokio::join!(biased; slow, waiting);
    assert_eq!(waiting, Err(Fault::Resting));
    assert_eq!(begin.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_same_question_is_asked_once_at_a_time() {
    let (backend, asked) = (backend(settings()), Asked::default());
    let key = backend.key(&[b"a"]);
    let mut clients = JoinSet::new();
    for _ in 0..10 {
        let (backend, asked) = (Arc::clone(&backend), asked.clone());
        clients.spawn(async move {
            let question = move || {
                asked.0.fetch_add(1, Ordering::Relaxed);
                async {
                    sleep(Duration::from_secs(1)).await;
                    Ok(true)
                }
            };
            backend.ask(key, question).await
        });
    }
    for answered in clients.join_all().await {
        assert!(answered.unwrap().verdict);
    }
    assert_eq!(asked.count(), 1);
    assert_eq!(backend.report().statistics.shared, 9);
    assert!(lock(&backend.0.under_way).questions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_asked_first_may_go_away() {
    let backend = backend(settings());
    let key = backend.key(&[b"a"]);
    let question = || async {
        sleep(Duration::from_secs(1)).await;
        Ok(true)
    };
    let mut first = Box::pin(backend.ask(key, question));
    assert!(futures_util::poll!(&mut first).is_pending());
    let mut second = Box::pin(backend.ask(key, || ready(Ok(false))));
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(first);
    assert!(second.await.unwrap().verdict, "the answer to the first");
    let mut third = Box::pin(backend.ask(key, pending::<Result<bool, Fault>>));
    assert!(futures_util::poll!(&mut third).is_pending());
    drop(third);
    assert!(lock(&backend.0.under_way).questions.is_empty());
    let free = backend.0.permits.available_permits();
    assert_eq!(free, 10, "nobody holds a place");
}

#[test]
fn reports_about_one_server_are_added_up() {
    let report = |server: &str, asked, is_resting| BackendReport {
        kind: "acl",
        server: server.into(),
        is_resting,
        statistics: BackendStatistics {
            asked,
            latencies: [asked; LATENCY_BOUNDS_MS.len() + 1],
            ..BackendStatistics::default()
        },
    };
    let reports = vec![
        report("b", 1, false),
        report("a", 2, false),
        report("b", 3, true),
    ];
    let sums = BackendReport::add_up(reports);
    assert_eq!(sums, [report("a", 2, false), report("b", 4, true)]);
}
