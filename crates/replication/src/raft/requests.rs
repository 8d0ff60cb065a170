//! What becomes of a request when it arrives at a replica.

use kvorum_core::{Attempt, Error, Executed, Request};

use super::machine;
use super::options::Options;
use super::proposals::Write;
use super::reads::{Waiting, is_safe};
use super::room::overhead;
use super::running::Running;
use crate::{Context, Ticket};

impl Running {
    /// Takes a request into this turn, or answers why not.
    pub(super) fn request(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
        ticket: Ticket,
        request: Request,
        attempt: Option<Attempt>,
    ) {
        let reads = !request.op.is_write();
        let follows = reads && self.may_follow(request.consistency);
        if !self.consensus.leads() && !follows {
            let leader = self.consensus.leader();
            ctx.out.reply(ticket, Err(Error::NotLeader { leader }));
            return;
        }
        if reads {
            if !request.consistency.is_some_and(is_safe) {
                self.lease.want();
            }
            self.reads.push(Waiting { ticket, request, arrived_ms: self.clock_ms(ctx) });
            return;
        }
        if ctx.clock_suspect && request.op.counts_from_now() {
            // The log's time may be long ago, and from it the value would expire at once.
            ctx.out.reply(ticket, Err(Error::ClockSkew { executed: Executed::No }));
            return;
        }
        let weight = request.op.weight() + overhead(&request.op);
        if let Err(error) = self.admit_write(options, ctx.store, &request.op) {
            let no_room = matches!(error, Error::DiskFull { .. } | Error::IndexFull { .. });
            self.reluctance.no_room |= no_room;
            ctx.out.reply(ticket, Err(error));
            return;
        }
        if let Some(command) = machine::command(request.keyspace, attempt, request.key, request.op)
        {
            let deadline = request.deadline;
            self.proposals.push(Write { ticket, deadline, weight, command });
        }
    }
}
