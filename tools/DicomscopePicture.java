import java.awt.Component;
import java.awt.Container;
import java.awt.image.BufferedImage;
import java.io.File;
import java.lang.reflect.Field;
import javax.imageio.ImageIO;
import javax.swing.JEditorPane;
import javax.swing.JSplitPane;
import javax.swing.SwingUtilities;

/**
 * Opens a presentation state with its image, then a structured report, in DICOMscope, and writes its window as a PNG
 * after each: STATE IMAGE PNG REPORT TEXT PNG. The report is scrolled to the first place of the text. Used by
 * tools/render_pacs.py.
 */
public class DicomscopePicture {
    private static final int WIDTH = 1200, HEIGHT = 900;
    private static final long SETTLES = 4000;
    private static dicomscope.DICOMscope window;

    public static void main(String[] words) throws Exception {
        Class.forName("main.MainContext").getMethod("instance").invoke(null); // loads the native library
        SwingUtilities.invokeAndWait(() -> {
            window = new dicomscope.DICOMscope();
            window.setBounds(0, 0, WIDTH, HEIGHT);
            window.setVisible(true);
        });
        Thread.sleep(SETTLES);
        Field field = dicomscope.DICOMscope.class.getDeclaredField("dvi");
        field.setAccessible(true);
        J2Ci.jDVInterface viewer = (J2Ci.jDVInterface) field.get(window);

        int[] status = new int[2];
        SwingUtilities.invokeAndWait(() -> {
            status[0] = viewer.loadPState(words[0], words[1]);
            fire(new main.ImageActionEvent(window, main.ImageActionEvent.ACTION_SETNEWIMAGE, 1, 1));
        });
        take(words[2]);
        SwingUtilities.invokeAndWait(() -> {
            status[1] = viewer.loadStructuredReport(words[3]);
            viewer.disableImageAndPState();
            fire(new main.ImageActionEvent(window, main.ImageActionEvent.ACTION_SETNEW_SR, null, null));
        });
        Thread.sleep(SETTLES);
        SwingUtilities.invokeAndWait(() -> {
            JSplitPane split = find(window, JSplitPane.class);
            if (split != null) split.setDividerLocation(0);
        });
        Thread.sleep(SETTLES);
        SwingUtilities.invokeAndWait(() -> scroll(find(window, JEditorPane.class), words[4]));
        take(words[5]);
        System.exit(status[0] == 0 && status[1] == 0 ? 0 : 1);
    }

    private static void fire(main.DSEvent event) {
        main.Controller.instance().fireEvent(event);
        window.switchToViewer();
    }

    private static void scroll(JEditorPane page, String text) {
        try {
            String content = page.getDocument().getText(0, page.getDocument().getLength());
            java.awt.Rectangle place = page.modelToView2D(content.indexOf(text)).getBounds();
            place.height = page.getVisibleRect().height - 40;
            place.x = 0;
            page.scrollRectToVisible(place);
        } catch (javax.swing.text.BadLocationException error) {
            throw new IllegalStateException(error);
        }
    }

    private static <T extends Component> T find(Container within, Class<T> kind) {
        for (Component each : within.getComponents()) {
            if (kind.isInstance(each) && each.isShowing()) return kind.cast(each);
            if (each instanceof Container) {
                T found = find((Container) each, kind);
                if (found != null) return found;
            }
        }
        return null;
    }

    private static void take(String path) throws Exception {
        Thread.sleep(SETTLES);
        SwingUtilities.invokeAndWait(() -> {
            BufferedImage picture = new BufferedImage(WIDTH, HEIGHT, BufferedImage.TYPE_INT_RGB);
            window.paint(picture.getGraphics());
            try {
                ImageIO.write(picture, "png", new File(path));
            } catch (java.io.IOException error) {
                throw new java.io.UncheckedIOException(error);
            }
        });
    }
}
