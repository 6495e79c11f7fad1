#include "model/gguf_reader.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <unordered_set>

#include "fastplr/errors.hpp"
#include "model/file_cursor.hpp"
#include "model/gguf_values.hpp"
#include "model/printable.hpp"

namespace fastplr::gguf {

namespace {

constexpr std::uint32_t kMinVersion = 2;
constexpr std::uint32_t kMaxVersion = 3;
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint64_t kMaxKeyBytes = 65535;  // the specification's limit
// The least that an entry takes: key length + 1 character + type + 1-byte value; name length + 1 + n_dims +
// type + offset.
constexpr std::uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;
constexpr std::uint64_t kMinTensorBytes = 8 + 1 + 4 + 4 + 8;
constexpr std::uint64_t kMaxElements = std::numeric_limits<std::int64_t>::max();

std::uint32_t read_header(FileCursor& cursor, std::uint64_t& n_tensors, std::uint64_t& n_entries) {
    std::array<char, 4> magic{};
    cursor.read(magic.data(), std::min<std::uint64_t>(magic.size(), cursor.size()), "the magic number");
    if (magic == std::array<char, 4>{'F', 'U', 'G', 'G'}) {
        cursor.fail("begins with 'FUGG', a GGUF file in big-endian order; expected little-endian ('GGUF')");
    }
    if (magic != std::array<char, 4>{'G', 'G', 'U', 'F'}) {
        cursor.fail("begins with " + quoted({magic.data(), magic.size()}) +
                    "; a GGUF file begins with 'GGUF'");
    }
    const auto version = cursor.read_number<std::uint32_t>("the version");
    if (version != 0 && (version & 0xFFFFu) == 0) {
        cursor.fail("has its version in big-endian order (" + std::to_string(version) +
                    " read as little-endian); expected a little-endian file");
    }
    if (version < kMinVersion || version > kMaxVersion) {
        cursor.fail("is GGUF version " + std::to_string(version) + "; expected version 2 or 3");
    }
    n_tensors = cursor.read_number<std::uint64_t>("the number of tensors");
    n_entries = cursor.read_number<std::uint64_t>("the number of metadata entries");
    const auto check_count = [&](std::uint64_t count, std::uint64_t min_bytes, std::uint64_t max_count,
                                 const char* what) {
        const std::uint64_t holds = std::min(cursor.remaining() / min_bytes, max_count);
        if (count > holds) {
            cursor.fail("says that it has " + std::to_string(count) + " " + what + ", but a file of " +
                        std::to_string(cursor.size()) + " bytes can have at most " + std::to_string(holds) +
                        ": the file is cut short or damaged");
        }
    };
    check_count(n_tensors, kMinTensorBytes, kMaxTensors, "tensors");
    check_count(n_entries, kMinEntryBytes, kMaxMetadataEntries, "metadata entries");
    return version;
}

Array read_array(FileCursor& cursor, const std::string& key) {
    const std::string what = "array " + quoted(key);
    Array array;
    array.element_type = static_cast<ValueType>(cursor.read_number<std::uint32_t>(what));
    array.count = cursor.read_number<std::uint64_t>(what);
    array.position = cursor.position();
    if (array.element_type == ValueType::array)
        cursor.fail(what + " holds arrays; expected numbers, booleans or strings");
    const std::uint64_t min_bytes = min_value_bytes(array.element_type);
    if (min_bytes == 0) {
        cursor.fail(what + " has elements of unknown " + value_type_name(array.element_type) +
                    "; expected a type from 0 to 12");
    }
    if (array.count > cursor.remaining() / min_bytes) {
        cursor.fail(what + " has " + std::to_string(array.count) + " elements of type " +
                    value_type_name(array.element_type) + ", but only " + std::to_string(cursor.remaining()) +
                    " bytes follow: the file is cut short or damaged");
    }
    const std::uint64_t n_preview = std::min<std::uint64_t>(array.count, kPreviewElements);
    if (array.element_type == ValueType::string) {
        for (std::uint64_t i = 0; i < array.count; ++i) {
            if (i < n_preview) {
                const std::string text = cursor.read_string(what);
                array.preview.emplace_back(std::string(utf8_prefix(text, kPreviewBytes)));
            } else {
                cursor.skip_string(what);
            }
        }
    } else {
        for (std::uint64_t i = 0; i < n_preview; ++i)
            array.preview.push_back(read_scalar(cursor, array.element_type, what));
        cursor.skip((array.count - n_preview) * min_bytes, what);
    }
    return array;
}

MetadataEntry read_entry(FileCursor& cursor, std::uint64_t index) {
    const std::string number = "metadata entry " + std::to_string(index);
    MetadataEntry entry;
    entry.key = cursor.read_string("the key of " + number);
    if (entry.key.empty()) cursor.fail(number + " has an empty key");
    if (entry.key.size() > kMaxKeyBytes) {
        cursor.fail(number + " has a key of " + std::to_string(entry.key.size()) + " bytes; at most " +
                    std::to_string(kMaxKeyBytes) + " are allowed");
    }
    // llama.cpp handles keys as C strings: with a NUL inside, two different keys would be one to it.
    if (entry.key.find('\0') != std::string::npos)
        cursor.fail(number + " has a NUL byte in its key " + quoted(entry.key));
    const auto type =
        static_cast<ValueType>(cursor.read_number<std::uint32_t>("the type of " + quoted(entry.key)));
    if (type == ValueType::array) {
        entry.value = read_array(cursor, entry.key);
    } else if (min_value_bytes(type) == 0) {
        cursor.fail("metadata " + quoted(entry.key) + " is of unknown " + value_type_name(type) +
                    "; expected a type from 0 to 12");
    } else {
        entry.value = read_scalar(cursor, type, "metadata " + quoted(entry.key));
    }
    return entry;
}

std::uint64_t read_alignment(const File& file) {
    if (!file.has_key("general.alignment")) return kDefaultAlignment;
    const Scalar* scalar = file.find_scalar("general.alignment");
    const auto* alignment = scalar == nullptr ? nullptr : std::get_if<std::uint32_t>(scalar);
    if (alignment == nullptr) file.fail("'general.alignment' has the wrong type; expected uint32");
    if (!std::has_single_bit(*alignment)) {
        file.fail("'general.alignment' is " + std::to_string(*alignment) + "; expected a power of two");
    }
    return *alignment;
}

bool is_known_tensor_type(std::uint32_t type) {
    // Removed types keep their place in ggml's table with a block size of 0.
    return type < GGML_TYPE_COUNT && ggml_blck_size(static_cast<ggml_type>(type)) > 0 &&
           ggml_type_size(static_cast<ggml_type>(type)) > 0;
}

/// Sets dims, n_elements: every dimension at least 1, their product within int64.
void read_dims(FileCursor& cursor, Tensor& tensor, const std::string& what) {
    const auto n_dims = cursor.read_number<std::uint32_t>("the number of dimensions of " + what);
    if (n_dims > GGML_MAX_DIMS) {
        cursor.fail(what + " has " + std::to_string(n_dims) + " dimensions; at most " +
                    std::to_string(GGML_MAX_DIMS) + " are possible");
    }
    tensor.n_elements = 1;
    for (std::uint32_t i = 0; i < n_dims; ++i)
        tensor.dims.push_back(cursor.read_number<std::uint64_t>("the shape of " + what));
    for (const std::uint64_t dim : tensor.dims) {
        if (dim == 0)
            cursor.fail(what + " has the shape " + dims_text(tensor.dims) +
                        "; expected every dimension to be at least 1");
        if (dim > kMaxElements / tensor.n_elements) {
            cursor.fail(what + " has the shape " + dims_text(tensor.dims) +
                        ", more elements than can be counted: the file is damaged");
        }
        tensor.n_elements *= dim;
    }
    if (tensor.dims.empty()) tensor.dims.push_back(1);  // a scalar: one row of one element, as in ggml
}

/// Reads one entry of the tensor list; offset is left relative to the data section.
Tensor read_tensor(FileCursor& cursor, std::uint64_t index) {
    Tensor tensor;
    const std::string number = "tensor " + std::to_string(index);
    tensor.name = cursor.read_string("the name of " + number);
    if (tensor.name.empty()) cursor.fail(number + " has an empty name");
    if (tensor.name.size() >= GGML_MAX_NAME) {
        cursor.fail(number + " has the name " + quoted(tensor.name) + " of " +
                    std::to_string(tensor.name.size()) + " bytes; at most " +
                    std::to_string(GGML_MAX_NAME - 1) + " are possible");
    }
    if (tensor.name.find('\0') != std::string::npos)
        cursor.fail(number + " has a NUL byte in its name " + quoted(tensor.name));
    const std::string what = "tensor " + quoted(tensor.name);
    read_dims(cursor, tensor, what);

    const auto type = cursor.read_number<std::uint32_t>("the type of " + what);
    if (!is_known_tensor_type(type)) {
        cursor.fail(
            what + " is of type " + std::to_string(type) + ", which " +
            (type < GGML_TYPE_COUNT ? "ggml no longer supports" : "this version of ggml does not know") +
            "; make the file anew with a current type");
    }
    tensor.type = static_cast<ggml_type>(type);
    const auto block_elements = static_cast<std::uint64_t>(ggml_blck_size(tensor.type));
    const auto block_bytes = static_cast<std::uint64_t>(ggml_type_size(tensor.type));
    if (tensor.dims[0] % block_elements != 0) {
        cursor.fail(what + " has rows of " + std::to_string(tensor.dims[0]) + " elements; its type " +
                    ggml_type_name(tensor.type) + " needs a multiple of " + std::to_string(block_elements));
    }
    const std::uint64_t n_blocks = tensor.n_elements / block_elements;
    if (n_blocks > kMaxElements / block_bytes)
        cursor.fail(what + " of shape " + dims_text(tensor.dims) + " has more bytes than can be counted");
    tensor.n_bytes = n_blocks * block_bytes;
    tensor.offset = cursor.read_number<std::uint64_t>("the offset of " + what);
    return tensor;
}

/// Checks that the tensors follow each other without gap or overlap, as gguf.cpp demands, and lie within the
/// file; makes offsets absolute.
void place_tensors(File& file) {
    const std::uint64_t alignment = file.alignment;
    std::uint64_t expected = 0;  // relative to the data section
    std::uint64_t data_end = 0;
    for (std::size_t i = 0; i < file.tensors.size(); ++i) {
        Tensor& tensor = file.tensors[i];
        const std::string what = "tensor " + quoted(tensor.name);
        if (tensor.offset % alignment != 0) {
            file.fail(what + " begins at offset " + std::to_string(tensor.offset) +
                      ", no multiple of the alignment " + std::to_string(alignment));
        }
        if (tensor.offset != expected) {
            file.fail(what + " begins at offset " + std::to_string(tensor.offset) + "; expected " +
                      std::to_string(expected) +
                      (tensor.offset < expected ? " (it overlaps the tensor before it)"
                                                : " (there is a gap before it)"));
        }
        data_end = tensor.offset + tensor.n_bytes;  // both at most 2^63 - 1: no overflow
        if (data_end > kMaxElements - file.data_position - alignment) {
            file.fail(what + " has " + std::to_string(tensor.n_bytes) +
                      " bytes, more than any file can hold");
        }
        expected = (data_end + alignment - 1) / alignment * alignment;
        tensor.offset += file.data_position;
    }
    const std::uint64_t needed = file.data_position + data_end;
    if (needed > file.file_size) {
        file.fail("is cut short: its tensors need " + std::to_string(needed) + " bytes, the file has " +
                  std::to_string(file.file_size) + ", so " + std::to_string(needed - file.file_size) +
                  " bytes are missing; fetch it again");
    }
}

}  // namespace

std::string dims_text(const std::vector<std::uint64_t>& dims) {
    std::string text = "[";
    for (std::size_t i = 0; i < dims.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(dims[i]);
    return text + "]";
}

File open(const std::string& path) {
    FileCursor cursor(path);
    cursor.set_limit(kMaxHeaderBytes);
    File file;
    file.path = path;
    file.file_size = cursor.size();
    std::uint64_t n_tensors = 0, n_entries = 0;
    file.version = read_header(cursor, n_tensors, n_entries);

    std::unordered_set<std::string> seen;
    for (std::uint64_t i = 0; i < n_entries; ++i) {
        MetadataEntry entry = read_entry(cursor, i);
        if (!seen.insert(entry.key).second) file.fail("metadata key " + quoted(entry.key) + " occurs twice");
        file.metadata.push_back(std::move(entry));
    }
    seen.clear();
    for (std::uint64_t i = 0; i < n_tensors; ++i) {
        Tensor tensor = read_tensor(cursor, i);
        if (!seen.insert(tensor.name).second) file.fail("tensor " + quoted(tensor.name) + " occurs twice");
        file.tensors.push_back(std::move(tensor));
    }
    file.index();
    file.alignment = read_alignment(file);
    file.data_position = cursor.position();
    if (!file.tensors.empty()) {  // without tensors nothing needs to follow
        file.data_position = (file.data_position + file.alignment - 1) / file.alignment * file.alignment;
    }
    place_tensors(file);
    return file;
}

}  // namespace fastplr::gguf
