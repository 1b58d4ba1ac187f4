//! One world: a store, a server, clients and a remote, everything that is done to them, and the check of it all.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::json;
use taskhook_sim::Random;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::backup;
use crate::check;
use crate::disk::Disk;
use crate::judge::Judge;
use crate::ledger::{Ledger, Webhook, Wrong};
use crate::link::Link;
use crate::load::{Client, NARROW, PACED};
use crate::plan::{self, Blow, Features, Plan};
use crate::proxy::{Proxy, TROUBLES};
use crate::remote::{self, Remote};
use crate::sabotage::Sabotage;
use crate::server::{Port, Programs, Server, Started};
use crate::shim::{Action, At, Control, Fault, Files};
use crate::tally::Tally;

const CLIENTS: usize = 4;
/// The longest moment under load before the next blow.
const MOMENT_MAX: Duration = Duration::from_millis(300);
/// How long a planned fault may wait for its call.
const FAULT_TIME_MAX: Duration = Duration::from_secs(3);
/// Within which time a process has ended that has met an I/O error.
const END_TIME_MAX: Duration = Duration::from_secs(30);
/// Within which time a process has ended that was told to: 10 s are promised, and this is a busy machine.
const STOP_TIME_MAX: Duration = Duration::from_secs(13);
/// The same where remotes answer at once.
const PROMPT_STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// Within which time everything has ended, once everybody answers. A target host that failed twenty times in a row is tried
/// again only after 30 s.
const ENDED_WITHIN: Duration = Duration::from_secs(90);
/// The same where no host was out of order.
const STEADY_ENDED_WITHIN: Duration = Duration::from_secs(20);
/// Within which time a server takes new work again, once there is room.
const ROOM_TIME_MAX: Duration = Duration::from_secs(30);
/// Within which time clients and the remote come to the end of what they have begun.
const CALM_TIME_MAX: Duration = Duration::from_secs(150);
/// Of a thousand older promises so many are looked at after each start.
const OLDER: u16 = 20;
/// Nothing that is waited for with a look now and then needs more looks.
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// How long blows fall.
#[derive(Debug, Clone, Copy)]
pub enum Span {
    /// For so long.
    Time(Duration),
    /// So many of them.
    Blows(usize),
}

/// A world in which something is done.
pub struct World {
    server: Server,
    judge: Judge,
    ledger: Arc<Ledger>,
    random: Random,
    plan: Plan,
    features: Features,
    /// Nothing but its own end comes between the server and the others: it has no excuse.
    steady: bool,
    /// Besides, every end is orderly, and the remote answers at once.
    prompt: bool,
    disk: Option<Disk>,
    proxies: [(&'static str, Proxy); 2],
    trouble: watch::Sender<u16>,
    calm: watch::Sender<bool>,
    over: watch::Sender<bool>,
    clients: JoinSet<()>,
    remote: JoinHandle<()>,
    sabotage: Option<Sabotage>,
    /// What was done, and when.
    pub diary: Vec<String>,
    /// What was done, counted.
    pub tally: Tally,
    /// What the server said at the end of its life before.
    before: String,
    /// How long after the last fault everything had ended.
    pub ended_after: Duration,
    began: Instant,
    probes: u64,
}

impl World {
    /// A world that `seed` decides, in `folder`, as far as chance is ours.
    ///
    /// # Errors
    /// If it does not come about.
    pub async fn begin(
        programs: &Programs,
        folder: &Path,
        disk: Option<Disk>,
        seed: u64,
        features: Features,
        sabotage: Option<Sabotage>,
    ) -> Result<World> {
        let needs_shim = features.faults || features.full_disk;
        ensure!(!needs_shim || programs.shim.is_some(), "nothing lets files fail");
        let steady = features.is_steady() && sabotage.is_none();
        let prompt = steady && !features.kills;
        let mut random = Random::new(seed);
        let plan = Plan::new(random.fork(), features);
        let ledger = Arc::new(Ledger::default());
        let (trouble, calm, over) =
            (watch::Sender::new(0), watch::Sender::new(false), watch::Sender::new(false));
        let port = Port::free()?;
        let address = port.address;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let to_remote = Proxy::start(listener.local_addr()?, random.fork(), trouble.subscribe()).await?;
        let to_taskhook = Proxy::start(address, random.fork(), trouble.subscribe()).await?;
        let work = format!("http://{}", to_remote.address);
        let control = Control::create(folder.parent().context("a folder of its own")?)?;
        let mut server = Server::new(programs, folder, control, port, to_taskhook.address);
        let link = |to| {
            let link = Link::new(to, ledger.clone());
            if steady { link.steady(server.life()) } else { link }
        };
        let judge = Judge { link: link(address), ledger: ledger.clone() };
        let link = link(to_taskhook.address);
        let remote = Remote {
            seed,
            link: link.clone(),
            ledger: ledger.clone(),
            calm: calm.subscribe(),
            prompt,
            asked: Arc::default(),
        };
        let remote = tokio::spawn(remote::serve(listener, remote, over.subscribe()));
        server.start().await?;
        let mut own = judge.link.clone();
        let narrow = json!({"concurrency": NARROW.1});
        let paced = json!({"rate": {"limit": PACED.1, "per": "1s", "burst": PACED.2}});
        for (name, queue) in [(NARROW.0, narrow), (PACED.0, paced)] {
            let answer = own.ask("PUT", &format!("/v1/queues/{name}"), None, queue.to_string()).await;
            ensure!(answer.status == 201, "the queue {name}: {}", answer.text());
        }
        trouble.send_replace(features.trouble);
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (name, ledger) = (format!("c{number}"), ledger.clone());
            let client =
                Client::new(name, random.fork(), link.clone(), ledger, work.clone(), features.filler);
            clients.spawn(client.run(calm.subscribe()));
        }
        Ok(World {
            server,
            judge,
            ledger,
            random,
            plan,
            features,
            steady,
            prompt,
            disk,
            proxies: [("remote side", to_remote), ("sender side", to_taskhook)],
            trouble,
            calm,
            over,
            clients,
            remote,
            sabotage,
            diary: vec![format!("seed {seed}: {features:?}")],
            tally: Tally::default(),
            before: String::new(),
            ended_after: Duration::ZERO,
            began: Instant::now(),
            probes: 0,
        })
    }

    /// Lets blows fall, then lets everything come to its end, and gives what does not hold.
    ///
    /// # Errors
    /// If the harness itself does not get on.
    pub async fn live(&mut self, span: Span) -> Result<Vec<Wrong>> {
        self.tally.one("worlds");
        let (began, mut blows) = (Instant::now(), 0);
        let is_over = |blows| match span {
            Span::Time(time) => began.elapsed() >= time,
            Span::Blows(most) => blows >= most,
        };
        while !is_over(blows) && self.ledger.read().wrong.is_empty() {
            blows += 1;
            let tasks = self.ledger.read().tasks.len();
            if let Some(sabotage) = self.sabotage
                && sabotage.strike_running(&self.server.control, tasks)?
            {
                self.note("SABOTAGE: the power is cut".into());
                self.server.ended(END_TIME_MAX).await?;
            } else {
                let blow = self.plan.draw();
                self.note(format!("{blow:?}"));
                self.blow(blow).await?;
            }
            if !self.server.runs() {
                self.restart().await?;
            }
        }
        if self.ledger.read().wrong.is_empty() {
            self.end().await?;
        }
        self.count();
        let lost = self.server.control.lost()?;
        self.tally.add("writes that a power cut or a failed sync took away", lost);
        Ok(std::mem::take(&mut self.ledger.read().wrong))
    }

    /// What the remote saw of a task, and when, by the diary's clock.
    fn seen_of(&self, task: &str) -> String {
        let records = self.ledger.read();
        let calls = records.calls.iter().filter(|(_, call)| call.task == task);
        let lines = calls.map(|(at, call)| {
            let copy = if call.is_copy { ", a copy that the proxy made" } else { "" };
            let at = at.duration_since(self.began).as_secs_f64();
            format!("{at:>8.3} s  attempt {} came to the remote{copy}\n", call.attempt)
        });
        lines.collect()
    }

    /// The story of a task, by the server as it is now.
    ///
    /// # Errors
    /// If there is no server to be had.
    pub async fn explain(&mut self, task: &str) -> Result<String> {
        self.free()?;
        if !self.server.runs() {
            self.server.start().await?;
        }
        self.server.explain(task).await
    }

    /// Ends the server, whatever it does.
    ///
    /// # Errors
    /// What the system says.
    pub async fn kill(&mut self) -> Result<()> {
        self.server.kill().await
    }

    /// What the server has said last.
    #[must_use]
    pub fn said(&self) -> String {
        self.server.said()
    }

    fn note(&mut self, what: String) {
        self.diary.push(format!("{:>8.3} s  {what}", self.began.elapsed().as_secs_f64()));
    }

    fn wrong(&mut self, what: String) {
        self.note(what.clone());
        self.ledger.wrong(None, what);
    }

    async fn pass(&mut self, most: Duration) {
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        tokio::time::sleep(Duration::from_micros(self.random.below(most))).await;
    }

    async fn blow(&mut self, blow: Blow) -> Result<()> {
        match blow {
            Blow::Kill => {
                self.pass(MOMENT_MAX).await;
                if let Some(status) = self.server.ended(Duration::ZERO).await? {
                    self.wrong(format!("it has ended by itself ({status}):\n{}", self.server.said()));
                }
                self.server.kill().await?;
                self.tally.one("kills: kill -9 under load");
            }
            Blow::Fault(fault) => self.fault(&fault).await?,
            Blow::FullDisk { room, time, kill } => self.full_disk(room, time, kill).await?,
            Blow::Pause(time) => {
                self.pass(MOMENT_MAX).await;
                self.server.signal(Signal::STOP)?;
                tokio::time::sleep(time).await;
                self.server.signal(Signal::CONT)?;
                self.tally.one("pauses: SIGSTOP, SIGCONT");
            }
            Blow::Stop => {
                self.pass(MOMENT_MAX).await;
                self.stop().await?;
            }
            Blow::Backup => self.backup().await?,
        }
        Ok(())
    }

    /// Lets a call on the store's files fail, and looks at what the server makes of it.
    async fn fault(&mut self, fault: &Fault) -> Result<()> {
        let before = self.server.control.hits(fault.at)?;
        self.server.control.plan(fault)?;
        let until = Instant::now() + FAULT_TIME_MAX;
        while self.server.control.hits(fault.at)? == before && Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if self.server.control.hits(fault.at)? == before {
            self.server.control.calm()?;
            // It may have come at the last moment.
            if self.server.control.hits(fault.at)? == before {
                self.tally.one("planned faults whose call never came");
                return Ok(());
            }
        }
        let status = if fault.action == Action::NoRoom && fault.at == At::Write {
            // The next calls fail too, as they come.
            let all = before + fault.repeat.unwrap_or(1);
            while self.server.control.hits(fault.at)? < all && Instant::now() < until {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            None
        } else {
            let status = self.server.ended(END_TIME_MAX).await?;
            if status.is_none() {
                self.wrong(format!("after {fault:?} the process lives on"));
            }
            status
        };
        let hits = self.server.control.hits(fault.at)? - before;
        self.count_fault(fault, hits);
        self.server.control.calm()?;
        match (fault.action, status) {
            (Action::Kill | Action::Power | Action::Lie, Some(status)) => {
                ensure!(status.signal() == Some(9), "it was killed, and has ended with {status}");
            }
            (_, Some(status)) => self.ended_by_error(fault, status),
            (_, None) => {
                if self.takes_work("after a full disk").await? {
                    self.tally.one("ends: went on by itself after ENOSPC");
                }
            }
        }
        Ok(())
    }

    fn count_fault(&mut self, fault: &Fault, hits: u64) {
        let call = match fault.at {
            At::Write => "write",
            At::Sync => "sync",
        };
        match fault.action {
            Action::Kill => self.tally.one(&format!("kills: in a {call}")),
            Action::Power => self.tally.one(&format!("kills: power cut in a {call}")),
            Action::Lie => {}
            Action::Broken => self.tally.add(&format!("faults: EIO in a {call}"), hits),
            Action::NoRoom => self.tally.add(&format!("faults: ENOSPC in a {call}"), hits),
        }
    }

    /// G16: after an I/O error the process ends, and says so by its exit code.
    fn ended_by_error(&mut self, fault: &Fault, status: ExitStatus) {
        match status.code() {
            Some(code) if code != 0 => self.tally.one("ends: exit code not 0 after an I/O error"),
            _ => self.wrong(format!("after {fault:?} it has ended with {status}:\n{}", self.server.said())),
        }
    }

    /// Whether it takes new work within some time, by itself.
    async fn takes_work(&mut self, when: &str) -> Result<bool> {
        let mut link = self.judge.link.clone();
        let until = Instant::now() + ROOM_TIME_MAX;
        self.probes += 1;
        let task = json!({"id": format!("probe-{}", self.probes)});
        let mut last = None;
        while Instant::now() < until {
            if let Some(status) = self.server.ended(Duration::ZERO).await? {
                let said = self.server.said();
                self.wrong(format!("{when} it has ended by itself ({status}):\n{said}"));
                return Ok(false);
            }
            last = link.try_once("POST", "/v1/tasks", &task.to_string(), Duration::from_secs(5)).await;
            if let Some(answer) = &last
                && matches!(answer.status, 200 | 201)
            {
                self.ledger.created(std::slice::from_ref(&task), answer);
                return Ok(true);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let said = self.server.said();
        self.wrong(format!("{when} it takes no work for {ROOM_TIME_MAX:?}: {last:?}\n{said}"));
        Ok(false)
    }

    /// Fills the disk, waits until the server has noticed, and makes room again.
    async fn full_disk(&mut self, room: u64, time: Duration, kill: bool) -> Result<()> {
        if !self.takes_work("before a full disk").await? {
            return Ok(());
        }
        let probe = format!("probe-{}", self.probes);
        let (refusals, said) = (self.ledger.refusals("disk_full"), self.server.said_full());
        let noticed =
            |world: &World| world.ledger.refusals("disk_full") > refusals || world.server.said_full() > said;
        let until = Instant::now() + 2 * FAULT_TIME_MAX;
        while !noticed(self) && Instant::now() < until {
            // Whatever room it makes itself, somebody else takes.
            self.fill(room)?;
            if self.server.ended(Duration::ZERO).await?.is_some() {
                break;
            }
            tokio::time::sleep(5 * LOOK_EVERY).await;
        }
        if noticed(self) {
            self.tally.one("disk: full");
        }
        if self.server.runs() && noticed(self) {
            self.complete(&probe).await;
            tokio::time::sleep(time).await;
        }
        // Where every write fails nothing can start: that is no disk that is full.
        if kill && self.server.runs() && self.disk.is_some() {
            self.server.kill().await?;
            self.tally.one("kills: while the disk is full");
            self.fill(room)?;
            self.server.spawn()?;
            match self.server.started().await? {
                Started::Listens => self.tally.one("disk: a start while it is full"),
                Started::Ended(status) => {
                    self.wrong(format!(
                        "on a full disk it does not start ({status}):\n{}",
                        self.server.said()
                    ));
                }
            }
        }
        self.free()?;
        if !self.server.runs() {
            self.wrong(format!("on a full disk it has ended:\n{}", self.server.said()));
        } else if self.takes_work("after a full disk").await? {
            self.tally.one("disk: room again, went on by itself");
        }
        Ok(())
    }

    /// Leaves so much room on the disk.
    fn fill(&self, room: u64) -> Result<()> {
        let (at, files, action) = (At::Write, Files::Any, Action::NoRoom);
        match &self.disk {
            Some(disk) => disk.leave(room),
            // In its place every write fails.
            None => Ok(self.server.control.plan(&Fault {
                at,
                files,
                call: 1,
                repeat: None,
                action,
                half: false,
            })?),
        }
    }

    /// Completes a task on a full disk: that is taken as long as there is any room, and whatever is answered is so.
    async fn complete(&mut self, task: &str) {
        let body = json!({"event": "task_completed", "task_id": task, "result": "on a full disk"});
        let webhook = Webhook { path: "/webhook".into(), delivery: None, echo: None, body };
        let body = webhook.body.to_string();
        let answer =
            self.judge.link.clone().try_once("POST", "/webhook", &body, Duration::from_secs(5)).await;
        match answer {
            Some(answer) if answer.status == 200 => {
                self.ledger.told(&webhook, Some(task), None, &answer);
                self.tally.one("disk: a completion taken while it is full");
            }
            _ => self.tally.one("disk: a completion not taken while it is full"),
        }
    }

    /// Takes back whatever may go wrong with the disk.
    fn free(&self) -> Result<()> {
        self.server.control.calm()?;
        self.disk.as_ref().map_or(Ok(()), Disk::free)
    }

    /// G17: SIGTERM, and it ends in order.
    async fn stop(&mut self) -> Result<()> {
        let began = Instant::now();
        self.server.signal(Signal::TERM)?;
        let most = if self.prompt { PROMPT_STOP_TIME_MAX } else { STOP_TIME_MAX };
        let status = self.server.ended(most).await?;
        let said = self.server.said();
        match status.map(|status| status.code()) {
            Some(Some(0)) => self.tally.one("ends: SIGTERM, exit code 0"),
            Some(_) => self.wrong(format!("told to stop it has ended with {status:?}:\n{said}")),
            None => self.wrong(format!("told to stop it still runs after {:?}:\n{said}", began.elapsed())),
        }
        if self.server.runs() {
            self.server.kill().await?;
        }
        Ok(())
    }

    /// G17: a copy of the store that SQLite makes beside the running server holds everything that was answered before.
    async fn backup(&mut self) -> Result<()> {
        let answered: Vec<String> = self.ledger.read().tasks.keys().cloned().collect();
        let copy = match backup::take(&self.server.folder).await {
            Ok(copy) => copy,
            Err(error) => {
                self.wrong(format!("a backup cannot be taken: {error:#}"));
                return Ok(());
            }
        };
        let doctor = self.server.doctor_of(&format!("sqlite:{}", copy.store.display())).await?;
        let missing = backup::missing(&copy.store, &answered)?;
        if !doctor.status.success() {
            let said = String::from_utf8_lossy(&[doctor.stdout, doctor.stderr].concat()).into_owned();
            self.wrong(format!("a backup does not pass doctor:\n{said}"));
        } else if missing.is_empty() {
            self.tally.one("backups: taken while it runs, whole");
        } else {
            self.wrong(format!("a backup lacks {} tasks: {:?}", missing.len(), missing.first()));
        }
        Ok(())
    }

    /// Looks at the store, on which no server runs, and starts the server again, sometimes badly.
    async fn restart(&mut self) -> Result<()> {
        self.look_for_defects();
        self.before = self.server.said();
        self.doctor().await?;
        while self.features.kills && self.random.per_mille(250) {
            self.server.spawn()?;
            self.pass(Duration::from_millis(60)).await;
            self.server.kill().await?;
            self.tally.one("kills: kill -9 while it starts");
        }
        if self.features.faults && self.random.per_mille(250) {
            self.start_with_a_fault().await?;
        }
        if let Some(sabotage) = self.sabotage {
            let done = sabotage.strike(&self.server.folder, self.ledger.read().tasks.len())?;
            if let Some(done) = done {
                self.note(format!("SABOTAGE: {done}"));
            }
        }
        if let Err(error) = self.server.start().await {
            self.wrong(format!("{error:#}"));
            return Ok(());
        }
        self.tally.one("restarts, each checked");
        self.judge.compare(&mut self.random, OLDER, &mut self.tally).await;
        Ok(())
    }

    /// A start in which a call on the store's files fails: it serves, or it ends with an exit code that says so.
    async fn start_with_a_fault(&mut self) -> Result<()> {
        let fault = plan::fault_at_start(&mut self.random);
        self.note(format!("start with {fault:?}"));
        let before = self.server.control.hits(fault.at)?;
        self.server.control.plan(&fault)?;
        self.server.spawn()?;
        let started = self.server.started().await?;
        let hit = self.server.control.hits(fault.at)? > before;
        self.server.control.calm()?;
        match started {
            Started::Ended(status)
                if hit && (fault.action.kills() || status.code().is_some_and(|code| code != 0)) =>
            {
                if fault.action.kills() {
                    self.tally.one("kills: in a call while it starts");
                } else {
                    self.tally.one("faults: while it starts");
                }
            }
            Started::Ended(status) => {
                self.wrong(format!(
                    "a start with {fault:?} has ended with {status}:\n{}",
                    self.server.said()
                ));
            }
            Started::Listens => {
                self.server.kill().await?;
                self.tally.one("kills: right after the start");
                self.tally.add("faults: while it starts, and it serves", u64::from(hit));
            }
        }
        self.doctor().await
    }

    /// G4: the store at rest keeps its own invariants.
    async fn doctor(&mut self) -> Result<()> {
        let doctor = self.server.doctor().await?;
        if doctor.status.success() {
            self.tally.one("checks: doctor, nothing found");
        } else {
            let said = String::from_utf8_lossy(&[doctor.stdout, doctor.stderr].concat()).into_owned();
            self.wrong(format!("doctor finds:\n{said}"));
        }
        Ok(())
    }

    /// What the server has noticed itself stands in its log.
    fn look_for_defects(&mut self) {
        for line in self.server.odd() {
            if check::is_defect(&line, self.steady) {
                self.wrong(format!("the server says: {line}"));
            }
        }
    }

    /// Faults stop, everything heals, and all work must end within a bound; then all of it is checked.
    async fn end(&mut self) -> Result<()> {
        self.note("calm".into());
        self.free()?;
        self.trouble.send_replace(0);
        self.calm.send_replace(true);
        if !self.server.runs() {
            self.server.start().await?;
        }
        let ledger = self.ledger.clone();
        let clients = async {
            while let Some(acted) = self.clients.join_next().await {
                acted.unwrap_or_else(|error| ledger.wrong(None, format!("a client has failed: {error}")));
            }
        };
        if tokio::time::timeout(CALM_TIME_MAX, clients).await.is_err() {
            self.wrong("the clients do not come to an end".into());
            return Ok(());
        }
        self.judge.complete_externals().await;
        let calm = Instant::now();
        let within = if self.steady { STEADY_ENDED_WITHIN } else { ENDED_WITHIN };
        let tasks = self.judge.ends(within).await;
        self.ended_after = calm.elapsed();
        self.note(format!("everything has ended, {:.1} s after calm", self.ended_after.as_secs_f64()));
        self.over.send_replace(true);
        match tokio::time::timeout(CALM_TIME_MAX, &mut self.remote).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.wrong(format!("the remote has failed: {error}")),
            Err(_) => {
                self.wrong("the remote does not come to an end".into());
                return Ok(());
            }
        }
        self.judge.compare(&mut self.random, 1_000, &mut self.tally).await;
        self.judge.check_stories(&tasks, &mut self.tally).await;
        if self.prompt {
            let mut records = self.ledger.read();
            let again = check::sent_again(&records.sends());
            records.wrong.extend(again);
        }
        for task in tasks.values() {
            self.tally.one(&format!("tasks: {}", task["state"].as_str().unwrap_or("?")));
        }
        if self.ledger.read().wrong.is_empty() {
            self.stop().await?;
            self.doctor().await?;
        }
        self.look_for_defects();
        Ok(())
    }

    /// Adds what clients, remote and proxies have counted.
    fn count(&mut self) {
        for (side, proxy) in &self.proxies {
            let counts = proxy.counts();
            for trouble in TROUBLES {
                let count = counts.get(&trouble).copied().unwrap_or(0);
                self.tally.add(&format!("{side}: {}", trouble.words()), count);
            }
        }
        let records = self.ledger.read();
        let tally = &mut self.tally;
        tally.add("load: answers", records.answers);
        tally.add("load: tasks", records.tasks.len() as u64);
        tally.add("load: webhooks", records.events.len() as u64);
        tally.add("load: answered as duplicates", records.duplicates);
        tally.add("load: answered from an idempotency key", records.replayed);
        let full = records.refusals.get("disk_full").copied().unwrap_or(0);
        tally.add("load: refused for a full disk", full);
        tally.add("remote: requests", records.calls.iter().filter(|(_, call)| !call.is_copy).count() as u64);
        let sends = records.sends();
        let sends = || sends.values().flat_map(|attempts| attempts.values().copied());
        tally.add("remote: attempts that were sent again", sends().map(|times| times - 1).sum());
        let to_the_end = sends().filter(|times| *times == check::SENDS_MAX as u64).count();
        tally.add("remote: attempts that were sent as often as may be", to_the_end as u64);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.remote.abort();
    }
}

/// How a world came out, where it did not hold.
///
/// # Errors
/// If nobody can be asked any more.
pub async fn tell(world: &mut World, wrong: &[Wrong]) -> Result<String> {
    if wrong.is_empty() {
        bail!("nothing is wrong");
    }
    let mut report = String::from("what was done:\n");
    report.extend(world.diary.iter().map(|line| format!("  {line}\n")));
    report.push_str("what does not hold:\n");
    report.extend(wrong.iter().take(20).map(|wrong| format!("  {}\n", wrong.what)));
    let mut told: Vec<&str> = wrong.iter().filter_map(|wrong| wrong.task.as_deref()).collect();
    told.dedup();
    for task in told.into_iter().take(3) {
        let story = world.explain(task).await.unwrap_or_else(|error| format!("{error:#}"));
        report.push_str(&format!("taskhook tasks explain {task}:\n{story}\n"));
        report.push_str(&world.seen_of(task));
    }
    report.push_str(&format!("what the server said in its life before:\n{}", world.before));
    report.push_str(&format!("what it said last:\n{}", world.said()));
    Ok(report)
}
