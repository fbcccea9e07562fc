"""ristretto255 eight elements at a time: a generator of LLVM IR for AVX-512 IFMA.

    ir        functions, vectors, loops, memory
    field     integers modulo p = 2^255 - 19, in five limbs
    points    extended coordinates: double, add, tables
    coding    bytes to points and back; the map from uniform bytes (RFC 9496)
    ladder    scalar multiplication: one window, the fixed base, many terms at once
    batch     the entry points, each a loop over a batch
    compiler  module, processor check, machine code
    calls     memory, threads, which item failed

One vector register holds the same limb of eight elements, so that every instruction works
on eight elements and none of them can be branched on: a lane has no program counter of its
own. What may be secret never leaves the vector registers, except into the stack.
"""
