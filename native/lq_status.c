/* SPDX-License-Identifier: MIT */
#include "lq_status.h"

const char *lq_status_name(enum lq_status status)
{
    switch (status) {
    case LQ_OK: return "ok";
    case LQ_EMPTY: return "empty";
    case LQ_FULL: return "full";
    case LQ_MISSING: return "missing";
    case LQ_TIMEOUT: return "timeout";
    case LQ_INTERRUPTED: return "interrupted";
    case LQ_STOPPED: return "stopped";
    case LQ_CORRUPT: return "corrupt";
    case LQ_VERSION: return "version";
    case LQ_SYSTEM: return "system";
    case LQ_NEVER: return "never";
    }
    return "unknown";
}
