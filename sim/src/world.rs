//! A whole world in one thread: nodes, targets, users and senders over one store, in virtual time, all drawn from one
//! seed.
//!
//! First a time with faults, as the seed's features say; then everything is mended, and whatever can end must. After
//! every commit the [oracle](crate::model) is told what the store says has become true.

mod end;
pub mod features;
pub mod ground;
mod mortal;
mod node;
mod remote;
pub mod run;
mod seen;
pub mod shrink;
pub mod sqlite;
mod sweep;
mod told;
mod trouble;
mod users;

use std::collections::BTreeMap;

use taskhook::engine::submission::{Draft, Submission};
use taskhook::store::StoreError;
use taskhook_core::retention::Ages;
use taskhook_core::{Command, HoldChange, HoldCommand, HostKey, Permits, QueueCommand, TaskKey, Timestamp};

use crate::clock::Clock;
use crate::model::{Fact, Kind, Model, Said, State, Time, Verdict, What};
use crate::random::Random;
use features::{Feature, Plan};
use ground::Ground;
use mortal::Saved;
use node::{Ask, Exchanges, From, Leaving, Node, Settled};
use remote::{Came, Exchange, Job, Post};

/// When every world begins.
const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const SECOND: Time = 1_000_000;
/// Steps after which a world that does not come to rest never will.
const STEPS_MAX: u64 = 200_000;

/// What happens at its time.
#[derive(Debug)]
enum Happening {
    /// Somebody does something.
    Acts,
    /// A user asks for this.
    Asks(Submission),
    /// A request arrives at its target.
    Arrives { number: u64, node: usize, life: u64 },
    /// An exchange ends for its node.
    Ends { number: u64, node: usize, life: u64, came: Came },
    /// A webhook is sent.
    Posts(Post),
    /// A process starts.
    Starts(usize),
    /// There is room on the disk again.
    Room,
    /// A sweep begins.
    Sweeps,
}

/// Everything there is.
pub struct World<G: Ground> {
    plan: Plan,
    ground: G,
    clock: Clock,
    random: Random,
    nodes: Vec<Option<Node<G::Store>>>,
    /// How many processes have started, by node.
    lives: Vec<u64>,
    exchanges: Exchanges,
    /// How many exchanges each node may have.
    places: Vec<u32>,
    /// What remotes do, by task and attempt, whatever they say of it.
    jobs: BTreeMap<(String, u32), Job>,
    /// The hosts of the URLs that were asked, by the product's keys.
    asked_hosts: BTreeMap<HostKey, String>,
    /// Hosts that fail whatever they are asked until then.
    dead_until: BTreeMap<HostKey, Time>,
    happenings: BTreeMap<(Time, u64), Happening>,
    drafts: BTreeMap<u64, Draft>,
    /// How many schedules were asked for.
    schedules: u32,
    names: BTreeMap<TaskKey, String>,
    position: i64,
    /// What the newest transaction has saved, until it was looked at what has become of it.
    saved: Vec<Saved>,
    model: Model,
    acts_left: u32,
    /// Numbers for everything that needs one of its own.
    last: u64,
    batches: u128,
    is_full: bool,
    /// How often something has happened to the disk that only a power loss shows.
    risks: u64,
    /// The power goes after so many starts and commits.
    power_goes_in: Option<u32>,
    /// How often a process dies, in a thousand steps.
    crashes: u16,
    /// How long what has ended is kept.
    ages: Ages,
    /// The newest transaction was a step of a sweep, and it is not known what it came to.
    is_sweeping: bool,
    /// Everything is mended.
    calm: bool,
    steps: u64,
    /// What has happened, line by line, where somebody wants to read it; and a hash of it in any case.
    pub(crate) trace: Option<Vec<String>>,
    pub(crate) hash: u64,
}

impl<G: Ground> World<G> {
    /// The world that `plan` makes, before anything happens.
    #[must_use]
    pub fn new(plan: Plan, is_told: bool) -> World<G> {
        let mut random = Random::new(plan.seed);
        let clock = Clock::at(START);
        let luck = random.draw();
        let crashes = *random.pick(&[6, 6, 60]);
        let age = *random.pick(&[1, 60, 600]);
        let age = plan.has(Feature::Retention).then_some(age);
        let ground = G::new(clock.clone(), &plan, luck);
        let many = plan.has(Feature::ManyNodes) && plan.has(Feature::Contention);
        let count = if many { 2 + random.index(2) } else { 1 };
        let mut model = Model::default();
        model.retains(age.map(|age| age * SECOND));
        World {
            plan,
            ground,
            clock,
            random,
            nodes: (0..count).map(|_| None).collect(),
            lives: vec![0; count],
            exchanges: BTreeMap::new(),
            places: vec![0; count],
            jobs: BTreeMap::new(),
            asked_hosts: BTreeMap::new(),
            dead_until: BTreeMap::new(),
            happenings: BTreeMap::new(),
            drafts: BTreeMap::new(),
            schedules: 0,
            names: BTreeMap::new(),
            position: i64::MIN,
            saved: Vec::new(),
            model,
            acts_left: plan.acts,
            last: 0,
            batches: 0,
            is_full: false,
            risks: 0,
            power_goes_in: None,
            crashes,
            ages: sweep::ages(age),
            is_sweeping: false,
            calm: false,
            steps: 0,
            trace: is_told.then(Vec::new),
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// Lets it all happen.
    ///
    /// # Errors
    /// What does not hold.
    pub fn run(&mut self) -> Verdict {
        for node in 0..self.nodes.len() {
            self.starts(node)?;
        }
        while self.nodes[0].is_none() {
            self.starts(0)?;
        }
        let queues = self.define_queues();
        if let Some(node) = &mut self.nodes[0] {
            node.inbox.extend(queues);
        }
        // Nothing goes wrong before there is anything.
        self.ground.plans(None);
        self.calm = true;
        self.commits(0)?;
        self.calm = false;
        self.later(START.0, Happening::Acts);
        if self.has(Feature::Retention) {
            self.later(START.0, Happening::Sweeps);
        }
        while self.acts_left > 0 {
            self.step()?;
        }
        self.mend()?;
        while self.step()? {}
        self.model.rests()?;
        let kept = self.ground.kept_count();
        if kept > 0 {
            return Err(format!("{kept} follow-ups are left aside"));
        }
        // What waits for a word that was lost gets it now.
        for _ in 0..1_000 {
            if self.model.is_over().is_ok() {
                break;
            }
            self.report_all();
            while self.step()? {}
        }
        self.model.is_over().map_err(|why| {
            let nodes: Vec<String> = self.nodes.iter().flatten().map(Node::words).collect();
            format!("{why}; nodes: {}", nodes.join(" | "))
        })?;
        self.all_is_there()?;
        self.sweeps_all()?;
        for process in self.nodes.iter().flatten() {
            if !process.counts_its_places() {
                return Err(format!("G12: a place was not given back: {}", process.words()));
            }
            self.ground.inspect(&process.store.inner)?;
        }
        Ok(())
    }

    /// How much time has passed in it.
    #[must_use]
    pub fn passed(&self) -> Time {
        self.now() - START.0
    }

    /// How often what has happened.
    #[must_use]
    pub fn happened(&self) -> BTreeMap<&'static str, u64> {
        let of_ground = self.ground.happened();
        self.model.happened.iter().map(|(what, count)| (*what, *count)).chain(of_ground).collect()
    }

    /// Takes one step; whether there was anything to do.
    fn step(&mut self) -> Result<bool, String> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            let nodes: Vec<String> = self.nodes.iter().flatten().map(Node::words).collect();
            return Err(format!("G14: it never comes to rest: {}", nodes.join(", ")));
        }
        let now = Timestamp(self.now());
        if self.has(Feature::Crashes) && self.chance(self.crashes) {
            let node = self.random.index(self.nodes.len());
            match self.has(Feature::Stops) && self.chance(500) {
                true => self.stops(node)?,
                false => self.crashes(node)?,
            }
        }
        let is_busy = |node: &Option<Node<_>>| {
            node.as_ref().is_some_and(|node| !node.outbox.is_empty() || node.has_work(now))
        };
        let busy: Vec<usize> = (0..self.nodes.len()).filter(|node| is_busy(&self.nodes[*node])).collect();
        let waits = !busy.is_empty() && self.has(Feature::Slow) && self.chance(250);
        if !busy.is_empty() && !waits {
            let node = busy[self.random.index(busy.len())];
            let (leaves, works) = match &self.nodes[node] {
                Some(node) => (!node.outbox.is_empty(), node.has_work(now)),
                None => (false, false),
            };
            if leaves && (!works || self.chance(700)) {
                self.hands_over(node)?;
            } else {
                self.commits(node)?;
            }
            return Ok(true);
        }
        if self.calm && busy.is_empty() {
            let has_places = !self.plan.has(Feature::FewPlaces) && !self.plan.is_large();
            let next = self.happenings.first_key_value().map(|((at, _), _)| *at);
            let next = next.into_iter().chain(self.wakes_at(now).map(|at| at.0)).min();
            self.model.is_punctual(now.0, next, has_places)?;
        }
        self.time_moves(now)
    }

    /// When the next node wakes up.
    fn wakes_at(&self, now: Timestamp) -> Option<Timestamp> {
        let wakes = self.nodes.iter().flatten().map(|node| node.next(now)).filter(|at| *at > now).min();
        wakes.filter(|at| *at < Timestamp::MAX)
    }

    /// The next thing happens, or the next node wakes up.
    fn time_moves(&mut self, now: Timestamp) -> Result<bool, String> {
        let wakes = self.wakes_at(now);
        if self.has(Feature::ClockJumps) && self.chance(10) {
            let by = self.pick(&[SECOND, 600 * SECOND, 86_400 * SECOND]);
            self.say(|| format!("the clock jumps by {} s", by / SECOND));
            self.note("a jump of the clock");
            // What is on its way takes as long as before.
            let shifted = std::mem::take(&mut self.happenings).into_iter();
            self.happenings = shifted.map(|((at, number), what)| ((at + by, number), what)).collect();
            self.clock.set(Timestamp(now.0 + by));
            return Ok(true);
        }
        match (self.happenings.first_key_value().map(|((at, _), _)| *at), wakes) {
            (None, None) => Ok(false),
            (at, Some(wakes)) if at.is_none_or(|at| wakes.0 < at) => {
                self.clock.set(wakes);
                Ok(true)
            }
            _ => {
                let Some(((at, _), happening)) = self.happenings.pop_first() else { return Ok(false) };
                self.clock.set(Timestamp(at));
                self.happens(happening)?;
                Ok(true)
            }
        }
    }

    fn happens(&mut self, happening: Happening) -> Verdict {
        match happening {
            Happening::Acts => {
                if self.acts_left == 0 {
                    return Ok(());
                }
                self.acts_left -= 1;
                self.acts();
                if self.has(Feature::FullDisk) && self.chance(30) {
                    self.is_full = true;
                    let until = self.now() + self.pick(&[SECOND, 5 * SECOND]);
                    self.later(until, Happening::Room);
                }
                let at = self.now() + self.pick(&[0, 1_000, 200_000, SECOND, 10 * SECOND, 120 * SECOND]);
                self.later(at, Happening::Acts);
            }
            Happening::Asks(submission) => self.asks(submission),
            Happening::Arrives { number, node, life } => {
                if let Some(exchange) = self.exchanges.get(&number).cloned() {
                    self.say(|| exchange.words("arrives"));
                    match exchange.is_poll {
                        true => self.is_asked(number, node, life, &exchange),
                        false => self.arrives(number, node, life, &exchange),
                    }
                }
            }
            Happening::Ends { number, node, life, came } => self.exchange_ends(number, node, life, came),
            Happening::Posts(post) => self.posts(post),
            Happening::Starts(node) => {
                if self.nodes[node].is_none() {
                    self.starts(node)?;
                }
            }
            Happening::Room => self.is_full = false,
            Happening::Sweeps => self.wants_sweep(),
        }
        Ok(())
    }

    fn exchange_ends(&mut self, number: u64, node: usize, life: u64, came: Came) {
        let Some(exchange) = self.exchanges.remove(&number) else { return };
        if self.lives[node] != life {
            return;
        }
        let Some(process) = &mut self.nodes[node] else { return };
        process.open.remove(&number);
        // Where it comes late the task may be gone, and another have its id: nothing is said of that one.
        let is_there = self.ground.task(exchange.task).is_some();
        let submission = match came {
            Came::Answer(answer) => {
                if is_there {
                    let names_url = exchange.names_url(answer);
                    self.model.exchange_ends(&exchange.id, exchange.attempt, answer, names_url);
                }
                Submission::Reply(Box::new(remote::reply(&exchange, answer)))
            }
            Came::Told(told) => {
                if is_there {
                    self.model.poll_ends(&exchange.id, exchange.attempt, told);
                }
                Submission::Polled(Box::new(remote::polled(&exchange, told)))
            }
        };
        process.inbox.push_back(Ask { submission, from: From::Exchange(exchange.permit) });
        self.say(|| exchange.words(&format!("is heard of by node {node}: {came:?}")));
    }

    /// A webhook is sent to some node. Where nobody is there, it is sent again later.
    fn posts(&mut self, post: Post) {
        let node = self.random.index(self.nodes.len());
        let number = self.fresh();
        let Some(process) = &mut self.nodes[node] else { return self.again(post) };
        let submission = users::heard(&post, number);
        process.inbox.push_back(Ask { submission, from: From::Sender(post.clone(), number) });
        self.say(|| format!("node {node} receives webhook {number}: {:?}", post.said));
    }

    fn again(&mut self, post: Post) {
        if post.tries > 0 && post.said.claim.is_some() {
            let at = self.now() + self.pick(&[SECOND, 10 * SECOND, 300 * SECOND]);
            self.later(at, Happening::Posts(Post { tries: post.tries - 1, ..post }));
        }
    }

    /// A process starts.
    fn starts(&mut self, node: usize) -> Verdict {
        let places = if self.plan.has(Feature::FewPlaces) {
            (1 + self.number(4), 1 + self.number(3))
        } else {
            (64, 16)
        };
        let of_others = self.nodes.iter().flatten().flat_map(|node| node.backlog.iter().map(|kept| kept.key));
        let of_others = of_others.collect();
        let now = self.clock.now();
        self.ground.prepares(self.is_full && !self.calm);
        self.plans_trouble(60);
        let Some(store) = self.ground.open()? else {
            self.note("a start that its disk forbids");
            self.say(|| format!("node {node} cannot start"));
            let at = now.0 + SECOND;
            self.later(at, Happening::Starts(node));
            return Ok(());
        };
        if G::IS_ALONE {
            self.hears_the_end(node)?;
        }
        let mut permits = Permits::new(places.0, places.1);
        if self.plan.has(Feature::DeadHosts) {
            // Worlds are too small for as many failures in a row as there are to be else, and for as many hosts. What every
            // second and third process of a node knows of hosts is forgotten soon.
            permits.failures_max = 1 + self.number(3);
            permits.remembered_max = [usize::MAX, 3, 1][self.lives[node] as usize % 3];
        }
        let process = Node::start(store, now, permits, &of_others).map_err(broken)?;
        self.lives[node] += 1;
        self.places[node] = places.0;
        let is_alone = self.nodes.iter().all(Option::is_none);
        self.nodes[node] = Some(process);
        if !is_alone {
            self.note("a node that starts beside another");
        }
        self.model.node_starts(node, is_alone, now.0);
        self.say(|| format!("node {node} starts"));
        if self.calm {
            self.calm_node(node);
        }
        self.all_is_there()
    }

    fn all_is_there(&self) -> Verdict {
        self.model.all_is_there(|event| self.ground.has_event(seen::id_of(event)))
    }

    /// What the transaction came to in which the process before died.
    fn hears_the_end(&mut self, node: usize) -> Verdict {
        if std::mem::take(&mut self.is_sweeping) {
            self.sees_what_is_gone()?;
        }
        let facts = self.look();
        if !facts.is_empty() {
            self.note("the end of a transaction that the next process tells");
        }
        self.is_told(node, &facts);
        self.model.commit(&facts)?;
        self.compares_states()
    }

    /// A node commits some of what it has to do, and the oracle hears of it.
    fn commits(&mut self, node: usize) -> Verdict {
        let sweeps = self.nodes[node].as_ref().is_some_and(|process| process.sweep_at.is_some());
        if sweeps && (self.calm || self.chance(400)) {
            return self.sweeps(node);
        }
        let now = self.clock.now();
        let hurry = self.calm || !self.has(Feature::Slow);
        let dies_in = (self.has(Feature::CrashesInCommit) && self.chance(15)).then(|| self.number(14));
        let fate = self.fate(dies_in);
        let Some(process) = &mut self.nodes[node] else { return Ok(()) };
        process.store.fate = fate;
        for stopped in process.inbox.iter().filter_map(|ask| Stopped::by(&ask.submission, false)) {
            stopped.tell(&mut self.model, false);
        }
        let before: Vec<Ask> = process.inbox.iter().cloned().collect();
        let broken_before = process.broken_hosts();
        let settled = match process.settle(now, &mut self.random, hurry, &mut self.batches) {
            Err(StoreError::Broken(_)) if self.ground.has_failed() => Settled::Died,
            settled => settled.map_err(broken)?,
        };
        self.saved = std::mem::take(&mut process.store.saved);
        let fate = std::mem::take(&mut process.store.fate);
        let broken_after = process.broken_hosts();
        let decided = if let Settled::Done(asks, _) = &settled { asks } else { &before };
        for ask in decided {
            if let From::Sender(post, number) = &ask.from {
                self.model.hears(*number, post.said.clone(), now.0);
            }
        }
        self.is_heard(node, decided, &settled, now);
        if !(G::IS_ALONE && matches!(settled, Settled::Died)) {
            let facts = self.look();
            self.is_told(node, &facts);
            self.model.commit(&facts)?;
            self.compares_states()?;
        }
        if broken_after > broken_before {
            self.note("a host that is out of order");
        } else if broken_after < broken_before {
            self.note("a host that is in order again");
        }
        if fate.begun > 1 {
            self.note("a transaction that was decided again");
        }
        if fate.was_in_doubt {
            self.note("a transaction of which nobody knew whether it was committed");
        }
        match settled {
            Settled::Done(asks, committed) => self.is_done(node, asks, *committed),
            Settled::Refused(asks) => {
                self.note("a full disk");
                asks.into_iter().for_each(|ask| self.is_unanswered(ask));
                Ok(())
            }
            Settled::Died => {
                self.note("a crash within a transaction");
                if let Some(process) = &mut self.nodes[node] {
                    // Whoever has asked, taken by the batch or not, hears nothing.
                    process.inbox = before.into();
                }
                self.crashes(node)
            }
        }
    }

    fn is_done(
        &mut self,
        node: usize,
        asks: Vec<Ask>,
        committed: taskhook::engine::commit::Committed,
    ) -> Verdict {
        if committed.hold == Some(HoldChange::Resumed) {
            self.model.forgets_silence(node);
        }
        if committed.receipts.len() != asks.len() {
            return Err(format!("{} answers for {} inputs", committed.receipts.len(), asks.len()));
        }
        let resumes = asks.iter().any(|ask| Stopped::by(&ask.submission, false).is_some());
        for (ask, receipt) in asks.iter().zip(&committed.receipts).filter(|_| !resumes) {
            let is_there = !matches!(receipt.outcome(), taskhook_core::Outcome::Refused(_));
            if let Some(stopped) = Stopped::by(&ask.submission, true).filter(|_| is_there) {
                stopped.tell(&mut self.model, true);
            }
        }
        let Some(process) = &mut self.nodes[node] else { return Ok(()) };
        if !process.backlog.is_empty() {
            *self.model.happened.entry("a follow-up that was kept").or_default() += 1;
        }
        let answers = asks.into_iter().zip(committed.receipts);
        process.outbox.extend(answers.map(|answer| Leaving::Answer(Box::new(answer))));
        process.outbox.extend(committed.dispatches.into_iter().map(|one| Leaving::Dispatch(Box::new(one))));
        Ok(())
    }

    /// What was committed leaves, one after the other.
    fn hands_over(&mut self, node: usize) -> Verdict {
        let leaving = self.nodes[node].as_mut().and_then(|process| process.outbox.pop_front());
        match leaving {
            Some(Leaving::Answer(answer)) => self.is_answered(answer.0, &answer.1),
            Some(Leaving::Dispatch(dispatch)) => {
                let now = self.now();
                let exchange = Exchange::of(&dispatch, now);
                if exchange.is_poll {
                    self.learns_host(&dispatch)?;
                }
                let is_gone = self.has(Feature::Retention) && self.ground.task(dispatch.task.key).is_none();
                match exchange.is_poll {
                    // It leaves late: the task has ended since, and another may have its id.
                    _ if is_gone => {}
                    true => self.model.polls(&dispatch.id, dispatch.attempt)?,
                    false => self.model.sends(&dispatch.id, dispatch.attempt)?,
                }
                self.say(|| exchange.words(&format!("leaves node {node}, send {}", dispatch.send)));
                let number = self.fresh();
                self.exchanges.insert(number, exchange);
                if let Some(process) = &mut self.nodes[node] {
                    process.open.insert(number);
                    if process.open.len() > self.places[node] as usize {
                        return Err(format!("G12: node {node} has {} exchanges open", process.open.len()));
                    }
                }
                let life = self.lives[node];
                let at = now + self.pick(&[1_000, 30_000, 2 * SECOND]);
                self.later(at, Happening::Arrives { number, node, life });
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn is_answered(&mut self, ask: Ask, receipt: &taskhook::engine::Receipt) -> Verdict {
        let outcome = receipt.outcome().clone();
        if outcome == taskhook_core::Outcome::Quarantined {
            return Err(format!("a decision failed by a defect: {:?}", ask.submission));
        }
        if let taskhook_core::Outcome::Created(created) = &outcome {
            let missing = |key: &TaskKey| self.names.get(key).cloned().unwrap_or_else(|| format!("{key:?}"));
            let ids: Vec<String> = created.iter().map(|(key, _)| missing(key)).collect();
            self.model.created(&ids)?;
        }
        if let (Submission::Once(once, _), taskhook_core::Outcome::Repeated) = (&ask.submission, &outcome) {
            self.model.has_happened(users::number_of(once.claim))?;
        }
        if let Submission::Schedule(name, _) = &ask.submission {
            self.model.schedule_is_known(name, self.clock.now().0);
            self.say(|| format!("schedule {name} is answered: {outcome:?}"));
        }
        let From::Sender(post, number) = ask.from else { return Ok(()) };
        self.say(|| format!("webhook {number} is answered: {outcome:?}"));
        let durable = |event: u64| self.ground.has_event(seen::id_of(event));
        self.model.webhook_answered(number, seen::outcome(&outcome), durable)?;
        if self.has(Feature::LostAnswers) && self.chance(200) {
            self.again(post);
        }
        Ok(())
    }

    fn compares_states(&mut self) -> Verdict {
        let mut states: Vec<(&str, State, u32)> = Vec::new();
        let names = &self.names;
        self.ground.each_state(&mut |task, state, attempt| {
            let name = names.get(&task).map_or("nobody", String::as_str);
            states.push((name, seen::state(state), attempt));
        });
        self.model.states(states.into_iter())
    }

    fn is_told(&mut self, node: usize, facts: &[Fact]) {
        for fact in facts {
            self.say(|| format!("node {node} commits: {} {:?} by {:?}", fact.task, fact.what, fact.why));
        }
        for fact in facts.iter().filter(|fact| matches!(fact.what, What::Failed | What::Cancelled)) {
            // Somebody who watches tries again at once, while word of the end is still on its way.
            if self.has(Feature::Reopens) && !self.calm && self.chance(200) {
                let at = self.now() + self.pick(&[0, 0, 1_000]);
                let retry = Command::Retry { ignore_dependencies: false };
                self.later(at, Happening::Asks(Submission::Command(fact.task.clone(), retry)));
            }
        }
        if facts.iter().filter(|fact| matches!(fact.what, What::DependencyEnded { .. })).count() > 50 {
            self.note("a full page of dependents");
        }
    }

    /// All faults are over: processes that are down start, and queues go on.
    fn mend(&mut self) -> Verdict {
        self.say(|| "everything is mended".into());
        (self.calm, self.is_full) = (true, false);
        self.ground.plans(None);
        // No process starts in the very instant in which the one before it died.
        self.clock.set(Timestamp(self.now() + 1_000));
        for node in 0..self.nodes.len() {
            // It may not have noticed yet what has just failed beside it.
            if self.ground.has_failed() {
                self.crashes(node)?;
            }
            match self.nodes[node] {
                Some(_) => self.calm_node(node),
                None => self.starts(node)?,
            }
        }
        for process in self.nodes.iter_mut().flatten() {
            // With more than one node it could come after what resumes the queue.
            process.inbox.retain(|ask| Stopped::by(&ask.submission, true).is_none());
        }
        if self.plan.has(Feature::Holds) {
            self.asks(Submission::Hold(HoldCommand::Resume));
        }
        for queue in ["q1", "q2"] {
            self.asks(Submission::Queue(queue.into(), QueueCommand::Resume));
        }
        Ok(())
    }

    fn calm_node(&mut self, node: usize) {
        if let Some(process) = &mut self.nodes[node] {
            self.ground.calm(&mut process.store.inner);
            process.rests_until = Timestamp(0);
        }
    }

    /// Whoever has a task says at last that it is done.
    fn report_all(&mut self) {
        let mut running = Vec::new();
        let names = &self.names;
        self.ground.each_task(&mut |task| {
            if task.state == taskhook_core::State::Running {
                running.extend(names.get(&task.key).cloned());
            }
        });
        for id in running {
            let said =
                Said { task: Some(id), external: None, attempt: None, kind: Kind::Completed, claim: None };
            self.posts(Post { said, token: None, flavour: 0, tries: 0 });
        }
    }

    fn now(&self) -> Time {
        self.clock.now().0
    }

    fn has(&self, feature: Feature) -> bool {
        let is_over = self.calm && features::is_fault(feature);
        self.plan.has(feature) && !is_over
    }

    fn chance(&mut self, per_mille: u16) -> bool {
        self.random.per_mille(per_mille)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        self.random.pick(from).clone()
    }

    fn number(&mut self, end: u64) -> u32 {
        u32::try_from(self.random.below(end)).unwrap_or(0)
    }

    fn fresh(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn later(&mut self, at: Time, happening: Happening) {
        let number = self.fresh();
        self.happenings.insert((at, number), happening);
    }

    fn note(&mut self, what: &'static str) {
        *self.model.happened.entry(what).or_default() += 1;
    }

    /// A line of the trace, and of its hash.
    fn say(&mut self, words: impl FnOnce() -> String) {
        let line = words();
        // FNV-1a, <http://www.isthe.com/chongo/tech/comp/fnv/>.
        let passed = self.passed();
        for byte in line.bytes().chain(passed.to_le_bytes()) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>13.6} {line}", passed as f64 / 1e6));
        }
    }
}

/// What may not begin anything for a while.
enum Stopped {
    Queue(String),
    Server,
}

impl Stopped {
    /// What this stops, or lets go on.
    fn by(submission: &Submission, stops: bool) -> Option<Stopped> {
        match submission {
            Submission::Queue(queue, QueueCommand::Pause) if stops => Some(Stopped::Queue(queue.clone())),
            Submission::Queue(queue, QueueCommand::Resume) if !stops => Some(Stopped::Queue(queue.clone())),
            Submission::Hold(command) if stops == (*command == HoldCommand::Hold) => Some(Stopped::Server),
            _ => None,
        }
    }

    fn tell(self, model: &mut Model, is_stopped: bool) {
        match self {
            Stopped::Queue(queue) => model.pauses(&queue, is_stopped),
            Stopped::Server => model.holds(is_stopped),
        }
    }
}

fn broken(error: StoreError) -> String {
    format!("the store is broken: {error}")
}
