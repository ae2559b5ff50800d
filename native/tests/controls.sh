#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# controls.sh BUILD: negative controls. Each breaks one rule of native/ in a copy of the sources, by the sed command given,
# and runs the cases that should notice; they must fail. So the tests are tested, and the sources carry no switches.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
work=$(cd "$1" && pwd)/controls
at_once=$(nproc)

# build TREE KIND: the test program of that copy of the sources.
build() {
    make --silent "${@:3}" -C "$1/native/tests" WARNINGS=-w CFLAGS_plain=-O0 BUILD=../.. "../../$2/lq_tests" >"$1/log" 2>&1
}

# The sources as they are, built: each control copies this, and so compiles anew only what it has broken.
whole=$work/nothing
rm -rf "$work"
mkdir -p "$whole/native/tests"
cp -p "$here"/../lq_*.[ch] "$whole/native"
rm -f "$whole"/native/lq_value*
cp -p "$here"/*.c "$here"/*.h "$here"/Makefile "$whole/native/tests"
build "$whole" plain -j"$at_once"

fail() {
    echo "FAILED  control $1"
    touch "$work/unnoticed"
}

# control NAME FILE CASES SED [KIND]: SED runs on the whole file at once (-z), so it may span lines. KIND is of the Makefile's.
control() {
    while (($(jobs -r | wc -l) >= at_once)); do
        wait -n
    done
    break_and_run "$@" &
}

break_and_run() {
    kind=${5:-plain}
    tree=$work/$1/native
    cp -a "$whole" "$work/$1"
    sed -z -i "$4" "$tree/$2"
    if cmp -s "$tree/$2" "$here/../$2"; then
        fail "$1: the line that it breaks is not in $2 any more"
        return
    fi
    if ! build "$work/$1" "$kind"; then
        fail "$1: does not compile, see $work/$1/log"
        return
    fi
    for name in $3 $3 $3; do # some breaks show by chance only
        if "$work/$1/$kind/lq_tests" "$name" >"$work/$1/log" 2>&1; then continue; fi
        if ! grep -q '^FAILED ' "$work/$1/log"; then continue; fi
        echo "ok      control $1: noticed by $(sed -n 's/^FAILED *//p' "$work/$1/log" | head -n 1)"
        rm -rf "$work/$1"
        return
    done
    fail "$1: no test noticed"
}

# --- the ring, and taking from it
control no_full_check lq_ring.h ring_that_is_full \
    's/if ((int64_t)(tail - head) >= [^\n]*)\n/if (head == 0)\n/'
control unsigned_full lq_ring.h ring_interrupted \
    's/(int64_t)(tail - \([^\n]*\)) >= (int64_t)(1ull << ring->order)/tail - \1 >= 1ull << ring->order/g'
control head_before_the_name lq_worker.c death_at_every \
    's|if (!lq_cas(&slot->word, word, lq_word_as(word, LQ_SLOT_CLAIMED, worker->me))) /\* \[W1\] \*/|lq_ring_advance(ring, \&entry);\n&|'

# --- recovery
control relabel_before_the_push lq_recover.c death_of_the_recoverer \
    's/    if (lq_ring_push(ring, index, lq_word_generation(word)) != LQ_OK)\n        return;\n    LQ_FAULT("recover:pushed");\n\(    lq_cas[^\n]*\n\)/\1    LQ_FAULT("recover:pushed");\n    lq_ring_push(ring, index, lq_word_generation(word));\n/'
control blind_relabel lq_recover.c death_stopped \
    's/lq_cas(&slot->word, word, lq_word_as(word, lq_word_state(word), LQ_NOBODY));\n    LQ_FAULT("recover:relabelled")/lq_store(\&slot->word, lq_word_as(word, lq_word_state(word), LQ_NOBODY));\n    LQ_FAULT("recover:relabelled")/'
control blind_free lq_recover.c death_stopped \
    's/recovered->released += lq_cas(&slot->word, word, lq_word_next(word, LQ_SLOT_FREE, LQ_NOBODY, 0));/LQ_FAULT("test:blind"); lq_store(\&slot->word, lq_word_next(word, LQ_SLOT_FREE, LQ_NOBODY, 0));/'
control drop_for_the_dead_without_the_guard lq_arena.c arena_drop_for \
    's/        if (lq_load_seq(guard) != guard_word)\n            return;[^\n]*\n//'
control drop_for_the_dead_whoever_holds_it lq_arena.c arena_drop_for \
    's/\(void lq_arena_drop_for(.*if (lq_word_state(seen) != LQ_BLOCK_HELD\) || lq_load(lq_arena_backref(arena, block)) != backref)/\1)/'
control block_held_before_it_is_named lq_client.c death_at_every \
    's/    LQ_PUT(slot->args_block, block);\n    LQ_FAULT("client_store_args:named");\n\(    lq_arena_hold[^\n]*\n\)/\1    LQ_FAULT("client_store_args:named");\n    LQ_PUT(slot->args_block, block);\n/'
control unpublished_function_keeps_its_block lq_recover.c death_at_every \
    's/\n    drop_unpublished_(space, dead, me);//'
control cancel_takes_the_label lq_client.c flow_cancelled \
    's/LQ_SLOT_CANCELLED, lq_word_label(word))/LQ_SLOT_CANCELLED, client->me)/'
control crashed_run_s_block_stays_named lq_worker.c flow_result_after \
    's/\(worker->me)[^}]*LQ_PUT(slot->attempt, slot->attempt + 1);[^;]*\)LQ_PUT(slot->result_block, LQ_NO_BLOCK);/\1/;s/\n    LQ_PUT(slot->result_block, LQ_NO_BLOCK);\n    lq_store_relaxed/\n    lq_store_relaxed/'

# --- the arena
control block_taken_without_a_look_at_the_span lq_arena.c "arena_interrupted arena_every_byte" \
    's/if (lq_word_state(span_word) == LQ_SPAN_CLASS && lq_word_aux(span_word) == class) {/{/'
control span_retired_without_locking_its_blocks lq_arena.c arena_interrupted \
    's/ || !lq_cas(&block->word, seen, lq_word_as(seen, LQ_BLOCK_RETIRED, me)))/)/'
control run_taken_over_used_spans lq_arena.c arena_every_byte \
    's/LQ_BLOCK_FREE ? free + 1 : 0;/LQ_BLOCK_FREE || free != 0 ? free + 1 : 0;/;s/lq_word_state(seen) != LQ_BLOCK_FREE || !lq_cas(&tail->word, seen, lq_word_as(seen, LQ_SPAN_TAIL, me))/!lq_cas(\&tail->word, seen, lq_word_as(seen, LQ_SPAN_TAIL, me))/'
control warm_blocks_for_ever lq_arena.c arena_warm \
    's/    cache->pressure = pressure;\n    lq_arena_cool(arena, cache, me);/    cache->pressure = pressure;/'

# --- pins, and the system's memory
control let_go_without_looking lq_arena.c pin_keeps_a_block \
    's/if (lq_pins_any(&arena->pins, block, lq_word_generation(dying))) {/if (0) {/'
control scan_before_dying lq_arena.c "pin_interrupted pin_keeps_the_bytes step_in_letting_go" \
    's/    if (!lq_cas(word, seen, dying))\n        return false;\n/    bool any = lq_pins_any(\&arena->pins, block, lq_word_generation(dying));\n&/;s/if (lq_pins_any(&arena->pins, block, lq_word_generation(dying))) {/if (any) {/'
control pin_is_not_checked lq_arena.c pin_of_a_block \
    's/if (is_kept_(arena, me, block, generation)) {/if (1) {/'
control pin_does_not_say_that_it_was lq_arena.c pin_keeps_a_block \
    's/if (lq_cas(word, seen, lq_word(state, lq_word_label(seen), generation, LQ_BLOCK_SEEN)))/if (1)/'
control pin_of_what_one_owns_is_not_marked lq_arena.c pin_of_what_one_owns \
    's/(is_there && lq_word_aux(seen) == LQ_BLOCK_SEEN)/(is_there \&\& (state == LQ_BLOCK_OWNED || lq_word_aux(seen) == LQ_BLOCK_SEEN))/'
control pin_takes_the_dying_for_kept lq_arena.c "pin_interrupted pin_keeps_the_bytes step_in_pinning" \
    's/} else if (lq_cas(word, seen, lq_word_as(seen, LQ_BLOCK_PINNED, LQ_NOBODY))) {/} else if (1) {/'
control pin_that_came_to_nothing_is_only_erased lq_arena.c step_in_pinning \
    's/lq_arena_unpin(arena, NULL, me, \*entry);[^\n]*/lq_pins_erase(\&arena->pins, me, *entry);/'
control unpin_erases_before_it_looks lq_arena.c death_at_every \
    's/\(    lq_arena_settle(arena, cache, me, lq_pin_block(what)[^\n]*\n    LQ_FAULT("arena_unpin:settled");\n\)\(    lq_pins_erase(&arena->pins, me, entry);\n\)/\2\1/'
control unpin_leaves_it_to_another_who_looks lq_arena.c step_in_letting_go \
    's/(state != LQ_BLOCK_PINNED && state != LQ_BLOCK_DYING)/(state != LQ_BLOCK_PINNED)/'
control pin_noted_before_the_end_is_raised lq_pin.c death_at_every \
    's/\(        if (lq_load32_relaxed(end) <= at)\n[^\n]*\n\)\(.*LQ_FAULT("pins_note:noted");\n\)/\2\1/'
control pin_by_one_who_has_left lq_pin.c pin_of_one_who_has_left \
    's/    if (!lq_roster_is_live(&pins->roster, me))\n        return LQ_MISSING;\n//'
control pins_of_the_dead_count lq_pin.c pin_of_the_dead \
    's/return lq_word_state(row_word) == LQ_ROW_LIVE ||/return true ||/'
control ties_are_ignored lq_pin.c pin_of_the_dead \
    's/return lq_word_state(row_word) == LQ_ROW_LIVE || [^\n]*;/return lq_word_state(row_word) == LQ_ROW_LIVE;/'
control tie_to_whatever_task_has_the_slot lq_pin.c pin_is_tied \
    's/on_its_way && LQ_GET(slot->task_generation) == (uint32_t)tie/on_its_way/'
control label_released_with_a_tie lq_arena.c pin_of_the_dead \
    's/            ++\*tied;\n/            found--;\n/'
control pins_cleared_before_they_are_settled lq_arena.c death_of_the_recoverer \
    's/\(        lq_arena_settle(arena, NULL, me, lq_pin_block(what)[^\n]*\n        LQ_FAULT("arena_recover:settled");\n\)\(        lq_cas(&pin->what, what, 0);\n        LQ_FAULT("arena_recover:unpinned");\n\)/\2\1/'
control pins_of_the_row_s_next_process_cleared lq_arena.c pin_of_the_row \
    's/if (what == 0 || what >> 52 != lq_label_incarnation(dead))/if (what == 0)/'
control owned_and_pinned_by_the_dead_is_freed lq_arena.c pin_with_a_tie \
    's/ || (lq_word_state(seen) == LQ_BLOCK_OWNED && lq_word_aux(seen) != 0);/;/'
control drop_for_gives_up_after_a_pin lq_arena.c step_in_recovering_pins \
    's/        if (done)\n            return;\n/        if (done || 1)\n            return;\n/'
control spans_of_odd_classes_are_never_given_back lq_arena.c pin_memory_is_had \
    's/if (state == LQ_BLOCK_FREE && (idle\[at\] == (word | EMPTIED) || word == 0))/if (idle[at] == (word | EMPTIED) || word == 0)/'
control memory_had_from_a_span_that_another_empties lq_arena.c step_in_pinning \
    's/bool stands = had && [^\n]*;/bool stands = had;/'
control memory_emptied_before_that_is_told lq_arena.c step_in_pinning \
    's/\(    if (arena->stocks != NULL) {\n        uint32_t stock[^}]*}\n    LQ_FAULT("arena_give_back:told");\n\)    return \(madvise[^\n]*\)\n/    bool emptied = \2\n\1    return emptied;\n/'
control pinned_memory_is_stripped lq_arena.c pin_memory_of_the_end \
    's/        if (!spared\[at\])\n//'

# --- reading
control evicted_in_the_same_generation lq_space.c space_read \
    's/!lq_cas(&slot->word, word, lq_word_next(word, LQ_SLOT_WRITING, me, 0))/!lq_cas(\&slot->word, word, lq_word_as(word, LQ_SLOT_WRITING, me))/'
control read_without_a_second_look lq_space.c space_read \
    's/        if (lq_load_seq(&slot->word) != word)\n            continue;\n//'
control task_that_costs_workers_is_never_judged lq_recover.c flow_task_that_costs \
    's/unbegun >= LQ_MOST_UNBEGUN ||/unbegun > 100 ||/'
control verdict_of_any_generation lq_space.c flow_task_that_costs \
    's/if (verdict >> 32 == lq_word_generation(lq_load(&slot->word)))/if (verdict != 0)/'

# --- shared memory that says anything
control header_read_twice lq_space.c fuzz_header_that_changes \
    's/view_(space, &header);/view_(space, space->header);/'
control segment_that_can_shrink lq_segment.c fuzz_files_that_can_shrink \
    's/bool sealed = seals >= 0 && (seals & F_SEAL_SHRINK) != 0;/bool sealed = seals >= 0;/'
control run_of_any_length lq_arena.c fuzz_readers_survive_a_harmed_arena \
    's/if (spans == 0 || spans > arena->count - head)/if (spans == 0)/'
control backref_to_any_slot lq_audit.c fuzz_readers_survive_a_harmed_arena \
    's/    if (index >= space->slots.count)\n        return false;\n    const struct lq_slot \*slot = lq_space_slot(space, index);\n    uint32_t state/    const struct lq_slot *slot = lq_space_slot(space, index);\n    uint32_t state/' asan
control span_number_one_too_large lq_arena.c fuzz_readers_survive_a_harmed_arena \
    's/if (span == 0 || span >= arena->count)/if (span == 0 || span > arena->count)/' asan
control push_that_looks_for_ever lq_ring.h fuzz_recovery \
    's/            if (lq_load(ring->tail) == tail)\n                return LQ_CORRUPT;[^\n]*\n//'
control ring_of_any_priority lq_space.c fuzz_work \
    's/\[priority < LQ_PRIORITIES ? priority : LQ_PRIORITIES - 1\]/[priority]/' asan

# --- memory order: what x86 forgives, ThreadSanitizer does not
control swaps_without_order lq_atomic.h flow_every_task \
    's/&expected, wanted, memory_order_seq_cst,[^;]*;/\&expected, wanted, memory_order_relaxed, memory_order_relaxed);/' tsan


# --- asked to stop, or later
control stop_asks_whoever_has_the_slot lq_slot.c look_a_request \
    's/return stop >> TASK_SHIFT == (task_generation & TASK_MASK) ?/return stop != 0 ?/'
control stop_is_never_forgiven lq_worker.c look_who_cancels \
    's/lq_slot_forgive(slot);//'
control stop_by_time_replaces_a_cancellation lq_slot.c look_a_request \
    's/if (asked == LQ_STOP_CANCEL || asked == why)/if (asked == why)/'
control stop_of_a_run_that_has_ended lq_worker.c look_who_cancels \
    's/if (!lq_slot_close(slot)) {/if (0) {/'
control worker_condemned_for_a_task_it_let_go_of lq_slot.c look_a_worker_is_killed_only \
    's/(stop & LQ_STOP_CLOSED) != 0 || //'
control worker_condemned_whoever_it_is lq_slot.c look_a_worker_is_killed_only \
    's/ ||\n            lq_word_label(word) != worker)/)/'
control stop_is_not_known_to_recovery lq_recover.c look_a_worker_that_is_killed \
    's/enum lq_stop stop = lq_slot_stop(slot);/enum lq_stop stop = LQ_STOP_NONE;/'
control cancelled_claim_is_given_to_another lq_recover.c look_a_task_that_was_claimed \
    's/ || lq_slot_stop(slot) == LQ_STOP_CANCEL) {/) {/'
control verdict_of_a_delayed_task_before_it_is_cancelled lq_client.c death_at \
    's/LQ_FAULT("client_cancel:undelayed");/;/; s/uint64_t cancelled = lq_word_as(word, LQ_SLOT_CANCELLED, client->me);/uint64_t cancelled = lq_word_as(word, LQ_SLOT_CANCELLED, client->me); lq_slot_judge(slot, word, LQ_OUTCOME_CANCELLED, 0); LQ_FAULT("client_cancel:undelayed");/'
control delayed_task_is_relabelled_before_the_push lq_look.c death_at \
    's/uint64_t queued = lq_word_as(word, LQ_SLOT_QUEUED, me);/uint64_t queued = lq_word_as(word, LQ_SLOT_QUEUED, LQ_NOBODY);/'
control look_does_not_say_that_it_has_looked lq_look.c look_the_supervisor \
    's/lq_store_seq(&space->header->look_ns, UINT64_MAX);//'

# --- order at the level of instructions: the cases that single-step
control step_head_before_the_name lq_worker.c step_in_working \
    's|if (!lq_cas(&slot->word, word, lq_word_as(word, LQ_SLOT_CLAIMED, worker->me))) /\* \[W1\] \*/|lq_ring_advance(ring, \&entry);\n&|'
control claim_gives_up_after_a_relabel lq_worker.c step_in_working \
    's/continue;\( \/\* may be a mere relabel\)/break;\1/'
control settling_gives_up_after_a_relabel lq_worker.c step_in_working \
    's/\(!lq_space_settle_cancelled(worker->space, worker->me, entry.index, word))\n *\)continue;/\1break;/'
control cancel_gives_up_after_a_relabel lq_client.c step_in_reaping \
    's/continue; \/\* taken, or merely relabelled/return LQ_MISSING; \/\*/'
control consume_gives_up_after_a_relabel lq_client.c step_in_reaping \
    's/        if (\(lq_cas(&slot->word, word, lq_word_as(word, LQ_SLOT_CACHED, LQ_NOBODY))\))\n            break;/        if (!\1)\n            return;\n        break;/'
control pushed_before_it_is_queued lq_client.c step_in_submitting \
    's/    lq_store(&slot->word, queued); \/\* \[C1\] \*\/\n    LQ_FAULT("client_submit:queued");\n\(.*return LQ_FULL;\n    }\n\)\(    client->pending++;\)/\1    lq_store(\&slot->word, queued);\n\2/'
control result_announced_before_it_is_done lq_worker.c step_in_working \
    's/    lq_store([^\n]*\[W2\] \*\/\n/    lq_space_announce(worker->space, index, lq_word_generation(word), client);\n&/;s/        lq_space_announce(worker->space, index, lq_word_generation(word), client);\n    else/        ;\n    else/'
control result_described_after_it_is_done lq_worker.c step_in_working \
    's/    LQ_PUT(slot->outcome, (uint8_t)outcome);\n\(    LQ_PUT(slot->result_format, format);\n.*hand_over_(worker, index); \/\* \[W2\] \*\/\n\)/\1    LQ_PUT(slot->outcome, (uint8_t)outcome);\n/'
control cancelled_task_is_never_judged lq_space.c step_in_working \
    's/    lq_slot_judge(slot, word, LQ_OUTCOME_CANCELLED, 0);\n//'
control requeued_and_relabelled_before_the_push lq_worker.c step_in_working \
    's/\(    if (lq_ring_push(ring, index, lq_word_generation(word)) != LQ_OK)\n        return false;\n    LQ_FAULT("worker_requeue:pushed");\n\)\(    lq_cas[^\n]*\n\)/\2\1/'
control requeued_in_the_same_generation lq_worker.c flow_requeued_task_is_not_reached \
    's/lq_word_next(word, LQ_SLOT_QUEUED, worker->me, lq_word_aux(word))/lq_word_as(word, LQ_SLOT_QUEUED, worker->me)/'
control recovered_in_the_same_generation lq_recover.c step_in_recovering_may \
    's/lq_word_next(word, LQ_SLOT_QUEUED, lq_word_label(word), crashes)/lq_word(LQ_SLOT_QUEUED, lq_word_label(word), lq_word_generation(word), crashes)/'
control step_relabel_before_the_push lq_recover.c step_in_recovering_may \
    's/\(    if (lq_ring_push(ring, index, lq_word_generation(word)) != LQ_OK)\n        return;\n    LQ_FAULT("recover:pushed");\n\)\(    lq_cas[^\n]*\n\)/\2\1/'
control done_of_the_dead_relabelled_before_it_is_announced lq_recover.c step_in_recovering_may \
    's/\(    if (waited_for)\n        lq_space_announce[^\n]*\n\)\(    LQ_FAULT("recover:announced");\n    lq_cas[^\n]*\n\)/\2\1/'
control crash_is_judged_after_it_is_done lq_recover.c step_in_recovering_may \
    's/    lq_slot_judge(slot, word, outcome, cause);\n\(.*LQ_FAULT("recover:done");\n\)/\1        lq_slot_judge(slot, word, outcome, cause);\n/'
control blocks_of_the_dead_dropped_after_their_slot_is_free lq_recover.c step_in_recovering_blocks \
    's/\(        drop_blocks_for_(space, me, index, word, true);\n\)\(        recovered->released += [^\n]*\n\)/\2\1/'
control step_block_held_before_it_is_named lq_client.c step_in_submitting \
    's/    LQ_PUT(slot->args_block, block);\n    LQ_FAULT("client_store_args:named");\n\(    lq_arena_hold[^\n]*\n\)/\1    LQ_PUT(slot->args_block, block);\n/'
control result_block_held_before_it_is_named lq_worker.c step_in_working \
    's/    LQ_PUT(slot->result_block, block);\n    LQ_FAULT("worker_store_result:named");\n\(    lq_arena_hold[^\n]*\n\)/\1    LQ_PUT(slot->result_block, block);\n/'
control function_s_block_held_before_it_is_named lq_client.c step_in_keeping \
    's/        LQ_PUT(function->block, block);\n        LQ_FAULT("client_publish:named");\n\(        lq_arena_hold[^\n]*\n\)/\1        LQ_PUT(function->block, block);\n/'
control block_held_before_its_backref lq_arena.c step_in_submitting \
    's/    lq_store(lq_arena_backref(arena, block), backref);\n    LQ_FAULT("arena_hold:named");\n\(.*LQ_FAULT("arena_hold:held");\n\)/\1    lq_store(lq_arena_backref(arena, block), backref);\n/'
control counter_of_fresh_slots_before_the_word lq_slot.c step_in_submitting \
    's/        bool taken = /        lq_cas(slots->fresh, fresh, fresh + 1);\n&/'
control function_row_taken_before_it_is_counted lq_function.c step_in_keeping \
    's/        note_used_(functions, at);\n\(.*LQ_FAULT("functions_take:claimed");\n\)/\1        note_used_(functions, at);\n/'
control run_taken_before_its_spans_are_counted lq_arena.c step_in_the_arena \
    's/    note_used_(arena, head + (uint32_t)spans - 1);\n\(.*LQ_FAULT("arena_take_run:head");\n\)/\1    note_used_(arena, head + (uint32_t)spans - 1);\n/'
control span_cut_before_it_is_counted lq_arena.c step_in_the_arena \
    's/        note_used_(arena, at);\n\(        LQ_FAULT[^\n]*\n        if (stock_[^\n]*\n[^\n]*\n\)        lq_store32(&candidate->cut, 1);\n\(.*\)\(        LQ_FAULT("arena_cut:swapped");\n        if (take_from_[^\n]*\n            \)return LQ_OK;/\1\2\3{ note_used_(arena, at); lq_store32(\&candidate->cut, 1); return LQ_OK; }/'
control tail_of_a_run_settled_before_the_head_counts_it lq_arena.c step_in_the_arena \
    's/        lq_store(&arena->spans\[head\].run, i + 1);\n\(        lq_store(&tail->word, lq_word_as(seen, LQ_SPAN_TAIL, LQ_NOBODY));\n\)/\1        lq_store(\&arena->spans[head].run, i + 1);\n/'
control head_of_a_run_freed_before_its_tails lq_arena.c step_in_the_arena \
    's/    lq_cas(&arena->spans\[head\].word, head_word, lq_word_next(head_word, LQ_BLOCK_FREE, LQ_NOBODY, 0));\n    LQ_FAULT("arena_free_run:head");\n//;s/    uint64_t spans = lq_load(&arena->spans\[head\].run);\n    for (uint64_t i = 1; i < spans && head/    uint64_t spans = lq_load(\&arena->spans[head].run);\n    lq_cas(\&arena->spans[head].word, head_word, lq_word_next(head_word, LQ_BLOCK_FREE, LQ_NOBODY, 0));\n    head_word = lq_load(\&arena->spans[head].word);\n    for (uint64_t i = 1; i < spans \&\& head/'
control tails_freed_by_one_who_woke_up_late lq_arena.c step_in_recovering_may \
    's/        if (lq_load(&arena->spans\[head\].word) != head_word)\n            return;[^\n]*\n//;s/lq_cas(&tail->word, word, lq_word_next(word, LQ_BLOCK_FREE, LQ_NOBODY, 0));\n        LQ_FAULT("arena_free_run:tail")/lq_store(\&tail->word, lq_word_next(word, LQ_BLOCK_FREE, LQ_NOBODY, 0));\n        LQ_FAULT("arena_free_run:tail")/'
control evicted_blocks_dropped_before_the_swap lq_space.c step_in_keeping \
    's/\(    if (lq_word_state(word) != LQ_SLOT_CACHED || !lq_cas(&slot->word, word, lq_word_next(word, LQ_SLOT_WRITING, me, 0)))\n        return LQ_MISSING;\n\)\(.*LQ_HOLDER_ARGS, index, slot->task_generation));\n\)\(    LQ_FAULT("evict:dropped");\)/    if (lq_word_state(word) != LQ_SLOT_CACHED)\n        return LQ_MISSING;\n\2\1\3/'
control swept_function_s_block_dropped_before_it_is_signed lq_space.c step_in_keeping \
    's/        if (word == 0 || !lq_cas(\(&function->word, word, lq_word_as(word, LQ_FUNCTION_WRITING, me)\)))\n            continue;[^\n]*\n        LQ_FAULT("sweep_functions:claimed");\n\(        if (function->block[^\n]*\n[^\n]*\n\)/        if (word == 0)\n            continue;\n\2        if (!lq_cas(\1))\n            continue;\n        LQ_FAULT("sweep_functions:claimed");\n/'
control swept_function_freed_before_its_block lq_space.c step_in_keeping \
    's/\(        if (function->block != LQ_NO_BLOCK)\n            lq_arena_drop(&space->arena, NULL, me, function->block[^\n]*\n\)\(        lq_functions_release(&space->functions, me, row);\n\)/\2\1/'
control withdrawn_function_s_block_dropped_before_it_is_signed lq_client.c step_in_keeping \
    's/    lq_store(&function->word, lq_word_as(word, LQ_FUNCTION_WRITING, client->me));\n//'

# --- what processes tell: seqlocks, numbers, one writer
control event_read_without_a_second_look lq_journal.c tell_events_read_between \
    's/    if (lq_load_seq(&entry->seq) != 2 \* number + 2)\n        return LQ_MISSING;\n//'
control event_written_without_saying_so lq_journal.c tell_event_that_the_dead \
    's/    lq_store_relaxed(&entry->seq, 2 \* number + 1);\n//'
control number_of_an_event_given_twice lq_journal.c tell_number_of_an_event \
    's/    lq_store(end, number + 1);\n    LQ_FAULT("journals_tell:claimed");\n\(.*LQ_FAULT("journals_tell:told");\n\)/    LQ_FAULT("journals_tell:claimed");\n\1    lq_store(end, number + 1);\n/'
control number_of_a_record_given_twice lq_trace.c tell_number_of_a_record \
    's/    lq_store(&tracks->trace_end, number + 1);\n    LQ_FAULT("traces_record:claimed");\n\(.*LQ_FAULT("traces_record:told");\n\)/    LQ_FAULT("traces_record:claimed");\n\1    lq_store(\&tracks->trace_end, number + 1);\n/'
control event_of_any_number lq_journal.c tell_journal_keeps \
    's/if (lq_load(&entry->seq) != 2 \* number + 2)/if (lq_load(\&entry->seq) % 2 != 0)/;s/    if (lq_load_seq(&entry->seq) != 2 \* number + 2)\n        return LQ_MISSING;\n//'
control event_of_any_length lq_journal.c fuzz_readers_survive_harmed_meters \
    's/ && copy->text_bytes <= LQ_EVENT_TEXT ? LQ_OK/ ? LQ_OK/'
control note_read_without_a_second_look lq_note.c tell_notes_read_between \
    's/if (lq_load32_seq(&note->seq) == seen) {/{/'
control note_written_without_saying_so lq_note.c tell_note_that_the_dead \
    's/    lq_store32_relaxed(&note->seq, seq);\n//'
control note_of_the_dead_is_believed lq_note.c "tell_note_of_one death_at_every" \
    's/        if ((seen \& 1u) == 0) {\n            lq_copy/        {\n            lq_copy/'
control note_of_any_task lq_note.c tell_note_is_that_of_its_task \
    's/if (copy->task_generation != task_generation || (/if (((/;s/copy->message_bytes != LQ_NO_MESSAGE))/copy->message_bytes != LQ_NO_MESSAGE)))/'
control note_by_one_who_has_let_go lq_tell.c tell_note_is_that_of_its_task \
    's/    if (lq_word_state(word) != LQ_SLOT_RUNNING || lq_word_label(word) != me || slot->task_generation != task_generation)\n        return false;\n/    (void)word; (void)me;\n/'
control record_read_without_a_second_look lq_trace.c tell_records_read_between \
    's/        if (lq_load_seq(&entry->seq) == 2 \* number + 2)\n//'
control records_that_are_missed_unsaid lq_trace.c tell_trace_says \
    's/        \*lost += end - LQ_RECORDS - \*place;\n//'
control place_of_any_number lq_trace.c tell_trace_says \
    's/ || \*place > end)/)/'
control trace_of_before lq_trace.c tell_trace_has \
    's/uint64_t first = is_of_this ? lq_load_relaxed(&tracks->trace_first) : end;/uint64_t first = 0; (void)is_of_this;/'
control meter_reset_with_its_row lq_space.c tell_sums_stay \
    's/            lq_store_relaxed(&row->base\[i\], lq_load_relaxed(&space->meters\[lq_label_row(\*label)\].sums\[i\]));/            lq_store_relaxed(\&space->meters[lq_label_row(*label)].sums[i], 0);/'
control row_counts_what_others_did lq_space.c tell_sums_stay \
    's/            lq_store_relaxed(&row->base\[i\], [^\n]*\n/            ;\n/'
control name_counted_before_it_is_written lq_meter.c death_at_every \
    's/    LQ_PUT(calls->name_bytes, bytes);\n\(.*\)    lq_store32(&meter->functions, names + 1);\n/    lq_store32(\&meter->functions, names + 1);\n    LQ_PUT(calls->name_bytes, bytes);\n    LQ_FAULT("test:counted");\n\1/'
control end_that_calls_nobody lq_worker.c tell_who_watches \
    's/    if (is_watched)\n        lq_space_call([^\n]*\n//'
control end_that_calls_everybody lq_worker.c tell_who_watches_is_called_for_each \
    's/    if (is_watched)\n        lq_space_call(/    lq_space_call(/'
control cancelled_task_calls_nobody lq_client.c tell_who_watches_is_called_whoever \
    's/        lq_space_call_watchers(client->space, index, task_generation);\n//'
control crash_calls_nobody lq_tell.c "tell_who_recovers tell_who_watches" \
    's/    lq_space_call_watchers(space, told->index, told->task_generation);\n//'
control late_mark_replaces_that_of_another lq_tell.c tell_mark_of_one \
    's/        if (!is_on_its_way_(slot, task_generation))\n            return LQ_MISSING;\n        if (seen/        if (seen/'

# --- what is kept, and how long
control reason_of_any_task lq_past.h tell_a_result_that_is_gone \
    's/bool is_its = gone >> 2 == (task_generation \& 0x3fffffffu) \&\& /bool is_its = /'
control end_of_the_crashed_is_their_submission lq_space.c tell_a_result_without_an_end \
    's/return ended_ns > submit_ns ? ended_ns : submit_ns;/return submit_ns; (void)ended_ns;/'
control cache_of_all_is_not_cut lq_space.c tell_cache_of_all \
    's/uint32_t most = space->header->sizes.result_cache;/uint32_t most = UINT32_MAX;/'
control youngest_is_cut lq_space.c tell_cache_of_all \
    's/return (a > b) - (a < b);/return (a < b) - (a > b);/'
control what_is_gone_counts_on lq_client.c tell_cache_of \
    's/    if (client->cached > client->cache_limit)\n        recount_(client);\n//'
control evicted_though_it_is_another_s lq_client.c tell_cached_result_of_another \
    's/return LQ_GET(slot->client) == client->me \&\&\n           lq_space_evict/return lq_space_evict/'

wait
[[ ! -e $work/unnoticed ]]
