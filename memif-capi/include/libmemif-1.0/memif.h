/* SPDX-License-Identifier: Apache-2.0 */
/* The same for the interface of libmemif 1.0. */
#include "../memif.h"
