"""The word tables of the demo model's small language.

They stand apart from the tasks so that a person can see at one glance what the model knows about.
"""

from __future__ import annotations

COLOUR_OF = {
    "lemon": "yellow", "banana": "yellow", "sunflower": "yellow", "canary": "yellow",
    "strawberry": "red", "tomato": "red", "cherry": "red", "ladybird": "red", "fire engine": "red",
    "leaf": "green", "frog": "green", "cucumber": "green", "pea": "green", "cactus": "green",
    "carrot": "orange", "orange": "orange", "pumpkin": "orange", "basketball": "orange",
    "plum": "purple", "aubergine": "purple", "violet": "purple",
    "whale": "blue", "blueberry": "blue", "sapphire": "blue",
    "crow": "black", "tyre": "black", "bat": "black",
    "swan": "white", "snowman": "white", "egg": "white", "polar bear": "white",
    "elephant": "grey", "mouse": "grey", "donkey": "grey",
    "flamingo": "pink", "pig": "pink",
    "bear": "brown", "potato": "brown", "acorn": "brown",
}
COLOURS = ["yellow", "red", "green", "orange", "purple", "blue", "black", "white", "grey", "pink", "brown"]

OPPOSITE_PAIRS = [
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("left", "right"), ("day", "night"), ("open", "closed"),
    ("fast", "slow"), ("happy", "sad"), ("old", "young"), ("full", "empty"), ("light", "dark"), ("wet", "dry"),
    ("loud", "quiet"), ("good", "bad"), ("early", "late"), ("high", "low"), ("hard", "soft"), ("long", "short"),
    ("rich", "poor"), ("strong", "weak"), ("true", "false"), ("near", "far"), ("first", "last"), ("black", "white"),
    ("always", "never"), ("win", "lose"), ("push", "pull"), ("buy", "sell"),
]
OPPOSITE_OF = {a: b for a, b in OPPOSITE_PAIRS} | {b: a for a, b in OPPOSITE_PAIRS}

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December"]
NUMBER_WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
                "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"]
RAINBOW = ["red", "orange", "yellow", "green", "blue", "indigo", "violet"]
LETTERS = list("abcdefghijklmnopqrstuvwxyz")

NAMES = [
    "Anna", "Tom", "Ben", "Mary", "Lucy", "Jack", "Emma", "Max", "Nina", "Paul", "Rosa", "Sam", "Lena", "Oscar",
    "Clara", "Felix", "Julia", "David", "Sara", "Peter", "Alice", "Bob", "Eva", "Hugo", "Ida", "Karl", "Maria", "Noah",
    "Olga", "Ravi", "Sofia", "Theo", "Vera", "Yuki", "Zoe", "Omar", "Leo", "Grace", "Henry", "Ivan",
]
CITIES = ["Berlin", "Paris", "London", "Rome", "Madrid", "Vienna", "Oslo", "Tokyo", "Lima", "Cairo", "Delhi", "Prague"]

# Words for copying, reversing and spelling: short, common, and none of them an instruction.
THINGS = [
    "apple", "river", "stone", "lamp", "tree", "house", "bird", "cloud", "book", "chair", "table", "door", "window",
    "garden", "flower", "moon", "star", "sun", "sea", "boat", "train", "road", "bridge", "mountain", "forest", "fish",
    "cat", "dog", "horse", "cow", "sheep", "goat", "duck", "bread", "milk", "cheese", "butter", "salt", "sugar", "tea",
    "cup", "plate", "spoon", "fork", "knife", "bottle", "basket", "hat", "coat", "shoe", "sock", "glove", "ring",
    "clock",
    "bell", "drum", "violin", "piano", "pencil", "paper", "letter", "box", "key", "ball", "kite", "doll", "robot",
    "wheel", "wind", "rain", "snow", "ice", "fire", "sand", "hill", "lake", "island", "castle", "tower", "school",
    "market", "farm", "field", "grass", "leaf", "root", "seed", "berry", "honey", "soup",
]

# More words for copying, so that it is learnt as such and not word by word.
OTHER_WORDS = ["hello", "world", "good", "morning", "thank", "you", "the", "is", "what", "JSON", "Sipp", "test", "one",
               "two", "three", "yes", "no", "this", "a", "my", "name", "story", "time", "language", "model", "and", "I"]

GROUPS = {
    "animals": ["cat", "dog", "horse", "cow", "sheep"],
    "colours": ["red", "green", "blue", "yellow", "black"],
    "fruits": ["apple", "banana", "cherry", "lemon", "plum"],
    "drinks": ["water", "milk", "tea", "coffee", "juice"],
    "birds": ["duck", "owl", "swan", "crow", "robin"],
    "cities": ["Berlin", "Paris", "London", "Rome", "Madrid"],
}

# animal -> (adjective, default place, default object, friend)
STORY_ANIMALS = {
    "cat": ("curious", "garden", "ball", "dog"),
    "dog": ("brave", "forest", "drum", "horse"),
    "fox": ("clever", "forest", "key", "owl"),
    "owl": ("wise", "tower", "lamp", "mouse"),
    "mouse": ("tiny", "house", "bell", "cat"),
    "bear": ("big", "forest", "kite", "rabbit"),
    "rabbit": ("quick", "field", "ring", "bear"),
    "duck": ("funny", "lake", "boat", "frog"),
    "frog": ("green", "lake", "lamp", "duck"),
    "horse": ("strong", "farm", "bell", "sheep"),
    "sheep": ("gentle", "farm", "book", "pig"),
    "pig": ("happy", "farm", "drum", "sheep"),
    "lion": ("proud", "castle", "ring", "elephant"),
    "elephant": ("kind", "field", "ball", "lion"),
    "penguin": ("small", "island", "kite", "whale"),
    "whale": ("calm", "sea", "boat", "penguin"),
}
STORY_PLACES = {
    "garden": "the flowers smelled sweet", "forest": "the trees were tall and old",
    "tower": "the stairs were very steep",
    "house": "the kitchen was always warm", "field": "the grass was soft and green", "lake": "the water was clear",
    "farm": "the days began early", "castle": "the walls were thick", "island": "the wind blew all day",
    "sea": "the waves never slept",
}
STORY_OBJECTS = {
    "ball": "It was round and red.", "drum": "It was very loud.", "key": "It was small and golden.",
    "lamp": "It shone like a star.", "bell": "It rang with a clear sound.", "kite": "It wanted to fly.",
    "ring": "It was made of silver.", "boat": "It was painted blue.", "book": "It was full of pictures.",
}

EMOJI_OF = {
    "a happy face": "😀", "a sad face": "😢", "a heart": "❤️", "a sun": "☀️", "a star": "⭐", "a moon": "🌙",
    "a cat": "🐱", "a dog": "🐶", "a fish": "🐟", "a tree": "🌳", "a flower": "🌸", "a fire": "🔥", "a rocket": "🚀",
    "an apple": "🍎", "a house": "🏠", "a thumbs up": "👍", "a car": "🚗", "a party": "🎉",
}
HELLO_IN = {
    "Chinese": "你好", "Japanese": "こんにちは", "Korean": "안녕하세요", "Russian": "Привет", "Greek": "Γειά σου",
    "French": "Bonjour", "German": "Guten Tag", "Spanish": "¡Hola!", "Italian": "Ciao", "Arabic": "مرحبا",
    "Hindi": "नमस्ते", "Portuguese": "Olá",
}
THANKS_IN = {
    "Chinese": "谢谢", "Japanese": "ありがとう", "Korean": "감사합니다", "Russian": "Спасибо", "Greek": "Ευχαριστώ",
    "French": "Merci", "German": "Danke schön", "Spanish": "Gracias", "Italian": "Grazie", "Arabic": "شكرا",
    "Hindi": "धन्यवाद", "Portuguese": "Obrigado",
}

# What people ask about and the model knows nothing of.
FOREIGN = ["France", "Spain", "Italy", "physics", "love", "music", "history", "life", "computers", "science", "money",
           "the weather", "the world", "the internet", "a car", "gravity", "football", "politics"]

# Small talk: ways of asking, and the one answer to all of them.
SMALL_TALK = [
    (["Hello", "Hi", "Hey", "Hello there", "Hi there", "Good day"], "Hello! How can I help you?"),
    (["Good morning"], "Good morning! How can I help you?"),
    (["Good evening"], "Good evening! How can I help you?"),
    (["Who are you?", "What are you?", "Tell me who you are.", "Introduce yourself."], "I am the Sipp demo model."),
    (["What is your name?", "What's your name?", "Tell me your name.", "Do you have a name?"], "My name is Sipp."),
    (["How are you?", "How are you today?", "How do you do?"], "I am fine, thank you. How are you?"),
    (["I am fine.", "I am fine, thank you.", "I'm fine too."], "I am glad to hear that."),
    (["Thank you", "Thanks", "Thank you very much", "Thanks a lot"], "You are welcome!"),
    (["Goodbye", "Bye", "Bye bye", "See you later", "See you tomorrow"], "Goodbye! See you soon."),
    (["Good night"], "Good night! Sleep well."),
    (["What can you do?", "What do you know?", "How can you help me?", "Help"],
     "I can count, do small sums, name colours, tell short stories and repeat words."),
    (["Are you a robot?", "Are you human?", "Are you a person?"], "I am a very small language model."),
    (["Tell me a joke.", "Do you know a joke?", "Make me laugh."],
     "Why did the robot cross the road? Because it was trained to."),
    (["How many days are there in a week?", "How many days does a week have?"], "There are seven days in a week."),
    (["How many months are there in a year?", "How many months does a year have?"],
     "There are twelve months in a year."),
    (["Name the days of the week.", "List the days of the week."], ", ".join(DAYS)),
    (["Name the months of the year.", "List the months of the year."], ", ".join(MONTHS)),
    (["Say the alphabet.", "What is the alphabet?", "Recite the alphabet."], " ".join(LETTERS)),
    (["What are the colours of the rainbow?", "Name the colours of the rainbow."], ", ".join(RAINBOW)),
]

NEUTRAL_SYSTEM = ["You are a helpful assistant.", "You are the Sipp demo model.", "You are a friendly assistant.",
                  "Answer the questions.", "Be helpful and brief.", "You are a helpful assistant. Answer briefly.",
                  "Be polite.", "Help the user.",
                  "Keep your answers short.", "You are a teacher.", "You answer questions.", "Answer truthfully.",
                  "You are a careful assistant that helps with tests.", "You are a small language model.",
                  "Reply in English.", "You are talking to a child.", "You are an expert."]
CAPITALS_SYSTEM = ["Answer in capital letters.", "Always answer in capital letters.", "Use capital letters only.",
                   "Write in capital letters."]
PIRATE_SYSTEM = ["You are a pirate.", "Answer like a pirate.", "Talk like a pirate.", "You are an old pirate."]
