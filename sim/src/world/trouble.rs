//! What goes wrong with a disk, and when.

use super::World;
use super::features::Feature;
use super::ground::{Ground, Trouble};
use super::mortal::Fate;

impl<G: Ground> World<G> {
    /// What a failed sync has lost looks sound as long as there is power. So the power goes soon after most of them: in the
    /// next start, in the first commits behind it, or later. Whether that is now.
    fn power_is_due(&mut self) -> bool {
        let before = std::mem::replace(&mut self.risks, self.ground.risks());
        if self.risks > before && self.chance(800) {
            self.power_goes_in = Some(self.pick(&[0, 1, 1, 5, 10, 20]));
        }
        let is_due = self.power_goes_in == Some(0);
        self.power_goes_in = self.power_goes_in.and_then(|left| left.checked_sub(1));
        is_due && self.has(Feature::PowerLoss)
    }

    /// Something may go wrong with the disk, so often in a thousand times.
    pub(super) fn plans_trouble(&mut self, per_mille: u16) {
        if self.power_is_due() {
            let end = self.pick(&[1, 10, 40]);
            let after = self.random.below(end);
            self.ground.plans(Some((Trouble::PowerLoss, after)));
            return;
        }
        let mut all = Vec::new();
        if self.has(Feature::PowerLoss) {
            all.push(Trouble::PowerLoss);
        }
        if self.has(Feature::DiskErrors) {
            all.extend([Trouble::SyncFails, Trouble::SyncFails, Trouble::WriteFails, Trouble::NoRoom]);
        }
        if !all.is_empty() && self.chance(per_mille) {
            let trouble = self.pick(&all);
            let end = self.pick(&if trouble == Trouble::SyncFails { [1, 2, 4] } else { [10, 40, 120] });
            let after = self.random.below(end);
            self.ground.plans(Some((trouble, after)));
        }
    }

    /// What will become of a process in its next transaction, and of its disk.
    pub(super) fn fate(&mut self, dies_in: Option<u32>) -> Fate {
        let is_full = self.is_full && !self.calm;
        let is_full = !self.ground.prepares(is_full) && is_full;
        self.plans_trouble(25);
        Fate { dies_in, is_full, ..Fate::default() }
    }
}
