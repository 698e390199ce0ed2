//! Where streams are kept: by place and generation.

use super::Conn;

/// All streams; a place in the slab is used again under another generation.
#[derive(Debug, Default)]
pub(in crate::world) struct Conns {
    slots: Vec<(u32, Option<Conn>)>,
    free: Vec<u32>,
}

impl Conns {
    pub(super) fn put(&mut self, conn: Conn) -> (u32, u32) {
        if let Some(i) = self.free.pop() {
            let slot = &mut self.slots[i as usize];
            slot.0 += 1;
            slot.1 = Some(conn);
            return (i, slot.0);
        }
        self.slots.push((0, Some(conn)));
        (self.slots.len() as u32 - 1, 0)
    }

    pub(super) fn get(&mut self, slot: u32, generation: u32) -> Option<&mut Conn> {
        let (g, conn) = self.slots.get_mut(slot as usize)?;
        if *g == generation { conn.as_mut() } else { None }
    }

    pub(super) fn generation(&self, slot: u32) -> u32 {
        self.slots.get(slot as usize).map_or(0, |s| s.0)
    }

    pub(super) fn drop_if_over(&mut self, slot: u32) {
        if let Some((_, conn)) = self.slots.get_mut(slot as usize)
            && conn.as_ref().is_some_and(Conn::is_over)
        {
            *conn = None;
            self.free.push(slot);
        }
    }
}
