#include "device.h"

#include "guarded.h"

#include "llama-ext.h"

using sipp::guarded;

sipp_status sipp_device_read(ggml_backend_dev_t device, sipp_device * read, sipp_error error) {
    return guarded(error, SIPP_FAILED, [&] {
        ggml_backend_dev_props props;
        ggml_backend_dev_get_props(device, &props);
        read->name = props.name;
        read->description = props.description;
        read->backend = ggml_backend_reg_name(ggml_backend_dev_backend_reg(device));
        read->id = props.device_id;
        read->type = static_cast<int32_t>(props.type);
        read->memory_free = props.memory_free;
        read->memory_total = props.memory_total;
        return SIPP_OK;
    });
}

sipp_status sipp_memory_read(const llama_context * context, sipp_memory * entries, size_t capacity, size_t * count,
                             sipp_error error) {
    return guarded(error, SIPP_FAILED, [&] {
        *count = 0;
        for (const auto & [type, size] : llama_get_memory_breakdown(context)) {
            ggml_backend_dev_t device = ggml_backend_buft_get_device(type);
            // Not by `is_host` alone: a device's own memory may be the CPU's too.
            if (device && type == ggml_backend_dev_host_buffer_type(device)) {
                device = nullptr;
            }
            if (*count < capacity) {
                entries[*count] = { device, ggml_backend_buft_is_host(type), size.model, size.context, size.compute };
            }
            (*count)++;
        }
        return SIPP_OK;
    });
}
