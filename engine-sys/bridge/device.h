// Devices that compute, and the memory that a model takes on them.

#pragma once

#include "guard.h"

#ifdef __cplusplus
extern "C" {
#endif

// A device. Texts are the device's own and live as long as the process; `id` may be null.
struct sipp_device {
    const char * name;
    const char * description;
    const char * backend;
    const char * id;
    int32_t type;
    uint64_t memory_free;
    uint64_t memory_total;
};

// A driver may throw while it is asked.
enum sipp_status sipp_device_read(ggml_backend_dev_t device, struct sipp_device * read, struct sipp_error error);

// Memory of one kind on one device, in bytes.
struct sipp_memory {
    // Null for the CPU's memory: that of no device, and what a GPU's backend pins to copy from faster.
    ggml_backend_dev_t device;
    // Whether the CPU can read it: weights in it may be mapped from their file.
    bool is_host;
    uint64_t weights;
    uint64_t context;
    uint64_t compute;
};

// What a context and its model take; of a model that was loaded without memory, what they would take. `count` becomes
// the number of entries, also if it is above `capacity`.
enum sipp_status sipp_memory_read(const struct llama_context * context, struct sipp_memory * entries, size_t capacity,
                                  size_t * count, struct sipp_error error);

#ifdef __cplusplus
}
#endif
