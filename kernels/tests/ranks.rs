//! Ranks over Gloo: threads where values are compared, processes where one of them dies.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cupola_kernels::{Collective, Gloo, KernelError, ReduceOp, Rendezvous, Work, on_gradient};
use tch::{Device, Kind, Tensor};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn rendezvous(port: u16, rank: usize, world_size: usize, timeout: Duration) -> Rendezvous {
    Rendezvous {
        host: "127.0.0.1".to_owned(),
        port,
        rank,
        world_size,
        run: "test".to_owned(),
        serve: true,
        timeout,
    }
}

/// Runs `body` as every rank of a world, each on its thread, and returns what each gave.
fn world<T: Send>(world_size: usize, body: impl Fn(&Arc<Gloo>) -> T + Sync) -> Vec<T> {
    let port = free_port();
    std::thread::scope(|scope| {
        let join = |rank| {
            let body = &body;
            scope.spawn(move || {
                let timeout = Duration::from_mins(1);
                body(&Arc::new(Gloo::join(&rendezvous(port, rank, world_size, timeout)).unwrap()))
            })
        };
        let ranks: Vec<_> = (0..world_size).map(join).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

/// What rank `rank` brings: whole numbers, so that sums are exact in every kind.
fn part(rank: usize, shape: &[i64], kind: Kind) -> Tensor {
    let count: i64 = shape.iter().product();
    (Tensor::arange(count, (Kind::Double, Device::Cpu)) + 10.0 * (rank as f64 + 1.0))
        .reshape(shape)
        .to_kind(kind)
}

#[test]
fn all_reduce_sums_averages_and_takes_the_greatest() {
    for world_size in [1, 2, 3] {
        world(world_size, |group| {
            for kind in [Kind::Float, Kind::Double, Kind::BFloat16, Kind::Int64] {
                let reduce = |op| {
                    let mut tensor = part(group.rank(), &[2, 3], kind);
                    group.all_reduce(&mut tensor, op).map(|work| work.wait().map(|()| tensor))
                };
                let parts: Vec<Tensor> =
                    (0..world_size).map(|rank| part(rank, &[2, 3], Kind::Double)).collect();
                let sum = Tensor::stack(&parts, 0).sum_dim_intlist(0i64, false, Kind::Double);
                assert_eq!(reduce(ReduceOp::Sum).unwrap().unwrap(), sum.to_kind(kind));
                assert_eq!(reduce(ReduceOp::Max).unwrap().unwrap(), parts[world_size - 1].to_kind(kind));
                let average = reduce(ReduceOp::Avg);
                if kind == Kind::Int64 {
                    assert!(matches!(average, Err(KernelError::Invalid { .. })));
                } else {
                    let expected = sum.to_kind(kind) / world_size as f64;
                    assert_eq!(average.unwrap().unwrap(), expected);
                }
            }
        });
    }
}

#[test]
fn fractions_are_the_same_bits_on_every_rank() {
    let results = world(3, |group| {
        let mut tensor = (part(group.rank(), &[1001], Kind::Float) * 0.1).sin();
        group.all_reduce(&mut tensor, ReduceOp::Avg).unwrap().wait().unwrap();
        tensor
    });
    let parts: Vec<Tensor> = (0..3).map(|rank| (part(rank, &[1001], Kind::Float) * 0.1).sin()).collect();
    let expected = Tensor::stack(&parts, 0).mean_dim(0i64, false, Kind::Double);
    for result in &results {
        assert_eq!(result, &results[0]);
        assert!((result - &expected).abs().max().double_value(&[]) < 1e-6);
    }
}

#[test]
fn uneven_parts_are_scattered_and_gathered_exactly() {
    let shapes: [&[i64]; 3] = [&[5, 2], &[0], &[3]];
    for world_size in [2, 3] {
        world(world_size, |group| {
            let rank = group.rank();
            let inputs = |rank: usize| -> Vec<Tensor> {
                (0..world_size).map(|to| part(rank, shapes[to], Kind::Float) + 100.0 * to as f64).collect()
            };
            let mut output = Tensor::zeros(shapes[rank], (Kind::Float, Device::Cpu));
            for op in [ReduceOp::Sum, ReduceOp::Avg] {
                group.reduce_scatter(&mut output, &inputs(rank), op).unwrap().wait().unwrap();
                let parts: Vec<Tensor> = (0..world_size).map(|from| inputs(from).remove(rank)).collect();
                let sum = Tensor::stack(&parts, 0).sum_dim_intlist(0i64, false, Kind::Float);
                let divisor = if op == ReduceOp::Avg { world_size as f64 } else { 1.0 };
                assert_eq!(output, sum / divisor);
            }
            let mut outputs: Vec<Tensor> =
                (0..world_size).map(|from| Tensor::zeros(shapes[from], (Kind::Float, Device::Cpu))).collect();
            group.all_gather(&mut outputs, &output).unwrap().wait().unwrap();
            for (from, gathered) in outputs.iter().enumerate() {
                let parts: Vec<Tensor> = (0..world_size).map(|rank| inputs(rank).remove(from)).collect();
                let sum = Tensor::stack(&parts, 0).sum_dim_intlist(0i64, false, Kind::Float);
                assert_eq!(*gathered, sum / world_size as f64);
            }
        });
    }
}

#[test]
fn a_tensor_that_is_not_contiguous_or_a_leaf_takes_part_by_its_elements() {
    world(2, |group| {
        let mut tall = part(group.rank(), &[3, 2], Kind::Float).tr(); // [2, 3]
        group.all_reduce(&mut tall, ReduceOp::Sum).unwrap().wait().unwrap();
        let expected = part(0, &[3, 2], Kind::Float).tr() + part(1, &[3, 2], Kind::Float).tr();
        assert_eq!(tall, expected);
        let mut weight = part(group.rank(), &[4], Kind::Float).set_requires_grad(true);
        group.broadcast(&mut weight, 1).unwrap().wait().unwrap();
        assert_eq!(weight.detach(), part(1, &[4], Kind::Float));
        assert!(weight.is_leaf() && weight.requires_grad());
        let mut column = part(group.rank(), &[3, 2], Kind::Float).select(1, 1);
        group.broadcast(&mut column, 0).unwrap().wait().unwrap();
        assert_eq!(column, part(0, &[3, 2], Kind::Float).select(1, 1));
    });
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_sent_and_the_group_goes_on() {
    world(2, |group| {
        let mut tensor = part(0, &[2], Kind::Float);
        assert!(matches!(group.broadcast(&mut tensor, 2), Err(KernelError::Invalid { .. })));
        let error = group.all_gather(&mut [tensor.copy()], &tensor).unwrap_err();
        assert_eq!(error.to_string(), "all_gather: 1 tensors for 2 ranks");
        let wrong = [part(0, &[3], Kind::Float), part(0, &[3], Kind::Float)];
        assert!(group.reduce_scatter(&mut tensor, &wrong, ReduceOp::Sum).is_err());
        group.barrier().unwrap();
    });
}

#[test]
fn ranks_whose_calls_differ_are_told_so_and_the_group_goes_on() {
    world(3, |group| {
        let rank = group.rank();
        let mut uneven = part(rank, &[2 + rank as i64 / 2], Kind::Float);
        let error = group.all_reduce(&mut uneven, ReduceOp::Sum).unwrap_err();
        assert!(
            error.to_string().contains("another rank calls another operation or passes other shapes"),
            "{error}"
        );
        assert!(!error.is_transient());
        let mut tensor = part(rank, &[4], if rank == 1 { Kind::Double } else { Kind::Float });
        assert!(group.broadcast(&mut tensor, 0).is_err());
        let mut even = part(rank, &[2], Kind::Float);
        group.all_reduce(&mut even, ReduceOp::Max).unwrap().wait().unwrap();
        assert_eq!(even, part(2, &[2], Kind::Float));
    });
}

#[test]
fn communication_that_begins_in_backward_gives_the_gradient_of_the_whole_batch() {
    let rows = || part(0, &[4, 3], Kind::Float) / 10.0;
    let weights = || {
        [part(2, &[3, 5], Kind::Float), part(1, &[5, 1], Kind::Float)]
            .map(|w| (w / 50.0).set_requires_grad(true))
    };
    let loss = |x: &Tensor, [a, b]: &[Tensor; 2]| x.matmul(a).tanh().matmul(b).mean(Kind::Float);
    let gradients = world(2, |group| {
        let weights = weights();
        let works: Arc<Mutex<Vec<Work>>> = Arc::default();
        let begin = |weight: &Tensor| {
            let (group, works) = (Arc::clone(group), Arc::clone(&works));
            let begin = move |weight: &Tensor| {
                let work = group.all_reduce(&mut weight.grad(), ReduceOp::Avg)?;
                works.lock().unwrap().push(work);
                Ok(())
            };
            on_gradient(weight, begin).unwrap()
        };
        let hooks = [begin(&weights[0]), begin(&weights[1])];
        loss(&rows().narrow(0, 2 * group.rank() as i64, 2), &weights).backward();
        let begun = std::mem::take(&mut *works.lock().unwrap());
        assert_eq!(begun.len(), 2);
        for work in begun {
            work.wait().unwrap();
        }
        drop(hooks);
        weights.map(|weight| weight.grad())
    });
    let whole = weights();
    loss(&rows(), &whole).backward();
    for rank in gradients {
        for (gradient, expected) in rank.iter().zip(&whole) {
            assert!((gradient - expected.grad()).abs().max().double_value(&[]) < 1e-6);
        }
    }
}

#[test]
fn a_rank_that_does_not_come_is_named_within_the_time_out() {
    let started = Instant::now();
    let timeout = Duration::from_secs(1);
    let error = Gloo::join(&rendezvous(free_port(), 0, 3, timeout)).unwrap_err();
    assert!(error.to_string().ends_with("within 1 s: without rank 1, 2"), "{error}");
    assert!(error.is_transient());
    assert!(started.elapsed() < Duration::from_millis(1200), "{:?}", started.elapsed());
    let error = Gloo::join(&rendezvous(free_port(), 1, 2, timeout)).unwrap_err();
    assert!(matches!(error, KernelError::Rendezvous { rank: 1, .. }), "{error}");
    assert!(started.elapsed() < Duration::from_millis(2400), "{:?}", started.elapsed());
}

#[test]
fn a_taken_port_and_a_port_that_never_answers_are_errors() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let started = Instant::now();
    let error = Gloo::join(&rendezvous(port, 0, 1, Duration::from_secs(2))).unwrap_err();
    assert!(error.to_string().contains("EADDRINUSE") || error.to_string().contains("in use"), "{error}");
    let error = Gloo::join(&rendezvous(port, 1, 2, Duration::from_secs(2))).unwrap_err();
    assert!(matches!(error, KernelError::Rendezvous { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_millis(4400), "{:?}", started.elapsed());
}

#[test]
fn ranks_that_disagree_are_told_so() {
    let errors = |worlds: [(usize, usize); 2]| {
        let port = free_port();
        std::thread::scope(|scope| {
            let join = |(rank, world_size)| {
                scope.spawn(move || {
                    Gloo::join(&rendezvous(port, rank, world_size, Duration::from_secs(5)))
                        .unwrap_err()
                        .to_string()
                })
            };
            let ranks = worlds.map(join);
            ranks.map(|rank| rank.join().unwrap())
        })
    };
    for error in errors([(0, 3), (1, 2)]) {
        assert!(error.contains("rank 0 expects 3 ranks, rank 1 2"), "{error}");
    }
    let error = Gloo::join(&rendezvous(free_port(), 2, 2, Duration::from_secs(5))).unwrap_err();
    assert!(matches!(error, KernelError::Invalid { .. }), "{error}");
    // Of two that say they are rank 1, the second is refused and tells the others.
    let port = free_port();
    let joined = std::thread::scope(|scope| {
        let join = |rank| scope.spawn(move || Gloo::join(&rendezvous(port, rank, 3, Duration::from_secs(5))));
        let ranks = [join(0), join(1), join(1)];
        ranks.map(|rank| rank.join().unwrap().unwrap_err().to_string())
    });
    for error in joined {
        assert!(error.contains("two processes are rank 1"), "{error}");
    }
}

/// The other ranks of the tests below: this test binary again, told by its environment what to do.
#[test]
fn as_a_rank() {
    let Ok(role) = std::env::var("CUPOLA_TEST_RANK") else { return };
    let fields: Vec<usize> = role.split(',').map(|field| field.parse().unwrap()).collect();
    let [port, rank, world_size, millis] = fields[..] else { panic!("{role}") };
    let timeout = Duration::from_millis(millis as u64);
    let group = Gloo::join(&rendezvous(port as u16, rank, world_size, timeout)).unwrap();
    println!("joined");
    let mut steps = 0;
    let error = loop {
        let started = Instant::now();
        let mut tensor = Tensor::ones([100_000], (Kind::Float, Device::Cpu));
        match group.all_reduce(&mut tensor, ReduceOp::Sum).and_then(Work::wait) {
            Ok(()) => steps += 1,
            Err(error) => break (error, started.elapsed()),
        }
    };
    let again = Instant::now();
    let next = group.barrier().unwrap_err();
    assert!(again.elapsed() < Duration::from_millis(100), "a broken group waits");
    assert!(error.0.is_transient() && next.is_transient());
    println!("steps {steps}, failed after {} ms: {}", error.1.as_millis(), error.0);
    println!("then: {next}");
    let leaving = Instant::now();
    drop(group);
    println!("left after {} ms", leaving.elapsed().as_millis());
}

struct Rank(Child);

impl Drop for Rank {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn start(port: u16, rank: usize, world_size: usize, millis: u64) -> Rank {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_a_rank", "--nocapture"])
        .env("CUPOLA_TEST_RANK", format!("{port},{rank},{world_size},{millis}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    Rank(child.unwrap())
}

fn signal(rank: &Rank, name: &str) {
    let status = Command::new("kill").args([name, &rank.0.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// What a rank printed until its end, which comes within `limit`.
fn ends_within(rank: &mut Rank, limit: Duration) -> String {
    let started = Instant::now();
    while rank.0.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < limit, "a rank did not end within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut text = String::new();
    rank.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let mut errors = String::new();
    rank.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(rank.0.wait().unwrap().success(), "{text}{errors}");
    text
}

fn others_fail(signal_name: &str, victim: usize, world_size: usize) {
    let (port, millis) = (free_port(), 3000);
    let mut ranks: Vec<Rank> = (0..world_size).map(|rank| start(port, rank, world_size, millis)).collect();
    // Some seconds of steps; a rank that has not joined by then fails the test by its time-out.
    std::thread::sleep(Duration::from_secs(2));
    signal(&ranks[victim], signal_name);
    for (rank, child) in ranks.iter_mut().enumerate().filter(|(rank, _)| *rank != victim) {
        let text = ends_within(child, Duration::from_secs(10));
        println!("{signal_name} of rank {victim} of {world_size}, seen by rank {rank}: {text}");
        let failure = text.lines().find(|line| line.starts_with("steps")).unwrap();
        assert!(failure.contains(&format!("rank {rank}: all_reduce failed after")), "{failure}");
        assert!(failure.contains("(time-out 3 s)") && !failure.starts_with("steps 0"), "{failure}");
        let waited: u64 =
            failure.split(" failed after ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(waited <= millis + 200, "{failure}");
    }
}

#[test]
fn a_killed_rank_makes_the_others_fail_within_the_time_out() {
    others_fail("-KILL", 1, 2);
    others_fail("-KILL", 0, 3);
}

#[test]
fn a_silent_rank_makes_the_others_fail_within_the_time_out() {
    others_fail("-STOP", 1, 2);
    others_fail("-STOP", 2, 3);
}
