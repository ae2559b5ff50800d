#!/bin/sh
# SPDX-License-Identifier: MIT
#
# controls.sh BUILD: negative controls. Each breaks one rule of native/ in a copy of the sources, by the sed command given,
# and runs the cases that should notice; they must fail. So the tests are tested, and the sources carry no switches.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
work=$(cd "$1" && pwd)/controls
unnoticed=0

# control NAME FILE CASES SED [KIND]: SED runs on the whole file at once (-z), so it may span lines. KIND is of the Makefile's.
control() {
    kind=${5:-plain}
    tree=$work/$1/native
    rm -rf "$work/$1"
    mkdir -p "$tree/tests"
    cp "$here"/../lq_*.[ch] "$tree"
    rm -f "$tree"/lq_value*
    cp "$here"/*.c "$here"/*.h "$here"/Makefile "$tree/tests"
    sed -z -i "$4" "$tree/$2"
    if cmp -s "$tree/$2" "$here/../$2"; then
        echo "FAILED  control $1: the line that it breaks is not in $2 any more"
        unnoticed=1
        return
    fi
    if ! make --silent -j2 -C "$tree/tests" WARNINGS=-w CFLAGS_plain=-O1 BUILD="$work/$1" "$work/$1/$kind/lq_tests" >"$work/$1/log" 2>&1; then
        echo "FAILED  control $1: does not compile, see $work/$1/log"
        unnoticed=1
        return
    fi
    for name in $3 $3 $3; do # some breaks show by chance only
        if "$work/$1/$kind/lq_tests" "$name" >"$work/$1/log" 2>&1; then continue; fi
        if ! grep -q '^FAILED ' "$work/$1/log"; then continue; fi
        echo "ok      control $1: noticed by $(sed -n 's/^FAILED *//p' "$work/$1/log" | head -n 1)"
        rm -rf "$work/$1"
        return
    done
    echo "FAILED  control $1: no test noticed"
    unnoticed=1
}

# --- the ring, and taking from it
control no_full_check lq_ring.h ring_that_is_full \
    's/if ((int64_t)(tail - lq_load(ring->head)) >= [^\n]*)\n/if (lq_load(ring->head) == 0)\n/'
control unsigned_full lq_ring.h ring_interrupted \
    's/(int64_t)(tail - lq_load(ring->head)) >= (int64_t)(1ull << ring->order)/tail - lq_load(ring->head) >= 1ull << ring->order/'
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
    's/    if (lq_load_seq(guard) != guard_word)\n        return;[^\n]*\n//'
control drop_for_the_dead_whoever_holds_it lq_arena.c arena_drop_for \
    's/\(void lq_arena_drop_for(.*if (lq_word_state(seen) != LQ_BLOCK_HELD\) || lq_load(lq_arena_backref(arena, block)) != backref)/\1)/'
control block_held_before_it_is_named lq_client.c death_at_every \
    's/    LQ_PUT(slot->args_block, block);\n    LQ_FAULT("client_store_args:named");\n\(    lq_arena_hold[^\n]*\n\)/\1    LQ_FAULT("client_store_args:named");\n    LQ_PUT(slot->args_block, block);\n/'
control unpublished_function_keeps_its_block lq_recover.c death_at_every \
    's/\n    drop_unpublished_(space, dead);//'
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

# --- reading
control evicted_in_the_same_generation lq_space.c space_read \
    's/!lq_cas(&slot->word, word, lq_word_next(word, LQ_SLOT_WRITING, me, 0))/!lq_cas(\&slot->word, word, lq_word_as(word, LQ_SLOT_WRITING, me))/'
control read_without_a_second_look lq_space.c space_read \
    's/        if (lq_load_seq(&slot->word) != word)\n            continue;\n//'
control task_that_costs_workers_is_never_judged lq_recover.c flow_task_that_costs \
    's/if (unbegun >= LQ_MOST_UNBEGUN)/if (unbegun > 100)/'
control verdict_of_any_generation lq_space.c flow_task_that_costs \
    's/if (verdict >> 32 == lq_word_generation(lq_load(&slot->word)))/if (verdict != 0)/'

# --- memory order: what x86 forgives, ThreadSanitizer does not
control swaps_without_order lq_atomic.h flow_every_task \
    's/&expected, wanted, memory_order_seq_cst,[^;]*;/\&expected, wanted, memory_order_relaxed, memory_order_relaxed);/' tsan

exit $unnoticed
